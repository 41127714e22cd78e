from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_service.http.responses.problems import PROBLEM_TYPES
from lightbox_client import Client, ProblemError
from lightbox_client.errors import (
    DeadlineExceededError,
    InvalidAddressError,
    InvalidImageError,
    InvalidRequestError,
    NotReadyError,
    OverloadedError,
    ServiceTimeoutError,
    ServiceUnreachableError,
    UnexpectedAnswerError,
    UnknownModelError,
)
from lightbox_client.transport import parse_retry_after
from tests.fakes.service import FakeService

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_a_refusal_with_retry_after_is_tried_again_after_that_time(
    client: Client, service: FakeService, waits_s: list[float], photograph: bytes
) -> None:
    service.refuse("overloaded", times=1, retry_after_s=2)
    service.refuse("not_ready", times=1, retry_after_s=5)

    assert client.classify(photograph).predictions
    assert waits_s == [2, 5]
    assert [request.body for request in service.seen("/v1/classify")] == [photograph] * 3


@pytest.mark.parametrize(("max_wait_s", "retry_after_s", "waited_s"), [(60, 1, [1, 1, 1]), (10, 4, [4, 4])])
def test_retries_end_by_number_or_by_the_time_that_they_take(
    service: FakeService, waits_s: list[float], max_wait_s: float, retry_after_s: int, waited_s: list[float]
) -> None:
    service.refuse("overloaded", retry_after_s=retry_after_s)

    client = Client(service.url, max_retry_wait_s=max_wait_s, sleep=waits_s.append)
    with client, pytest.raises(OverloadedError) as refused:
        client.models()

    assert refused.value.retry_after_s == retry_after_s
    assert waits_s == waited_s


@pytest.mark.parametrize("code", sorted(PROBLEM_TYPES))
def test_a_refusal_without_retry_after_is_final(
    client: Client, service: FakeService, waits_s: list[float], code: str
) -> None:
    service.refuse(code)

    with pytest.raises(ProblemError) as refused:
        client.models()

    assert (refused.value.code, refused.value.status) == (code, PROBLEM_TYPES[code].status)
    assert len(service.requests) == 1
    assert waits_s == []


def test_only_429_and_503_are_tried_again_even_with_retry_after(
    client: Client, service: FakeService, waits_s: list[float]
) -> None:
    service.refuse("inference_failed", retry_after_s=1)

    with pytest.raises(ProblemError):
        client.models()

    assert waits_s == []


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        *((code, InvalidRequestError) for code in ("invalid_parameter", "too_many_images")),
        *((code, InvalidImageError) for code in ("missing_image", "image_too_large", "too_many_pixels")),
        *((code, InvalidImageError) for code in ("unsupported_format", "undecodable_image")),
        *((code, NotReadyError) for code in ("not_ready", "draining")),
        ("unknown_model", UnknownModelError),
        ("overloaded", OverloadedError),
        ("deadline_exceeded", DeadlineExceededError),
        ("inference_failed", ProblemError),
    ],
)
def test_each_code_has_the_error_by_which_a_caller_would_act(
    client: Client, service: FakeService, code: str, kind: type[ProblemError]
) -> None:
    service.refuse(code, detail="What happened.", limit=7)

    with pytest.raises(ProblemError) as refused:
        client.models()

    assert (type(refused.value), str(refused.value)) == (kind, "What happened.")
    assert refused.value.problem.model_extra == {"limit": 7}


def test_a_service_that_is_down_is_unreachable_and_its_address_named(client: Client, service: FakeService) -> None:
    service.stop()

    with pytest.raises(ServiceUnreachableError, match=rf"cannot reach {service.url} \(Connection refused\)"):
        client.models()


@pytest.mark.parametrize("address", ["http://no-such-host.invalid:3000", "http://127.0.0.1:99999"])
def test_a_host_or_port_that_cannot_be_is_unreachable(address: str) -> None:
    with Client(address) as client, pytest.raises(ServiceUnreachableError):
        client.models()


def test_a_service_that_hangs_runs_into_the_time_limit(service: FakeService) -> None:
    with (
        service.held(),
        Client(service.url, read_timeout_s=0.1) as client,
        pytest.raises(ServiceTimeoutError, match=r"did not answer within 0\.1 s"),
    ):
        client.models()


def test_a_proxys_page_is_an_unexpected_answer_with_its_beginning(client: Client, service: FakeService) -> None:
    service.answer(502, b"<html><h1>Bad  Gateway</h1></html>")

    with pytest.raises(UnexpectedAnswerError, match=r"answered 502 \(text/html\).*<h1>Bad Gateway") as refused:
        client.models()

    assert refused.value.status == 502


@pytest.mark.parametrize("body", [b"", b"{", b"<html></html>", b"[]", b'{"models": [{}]}', b"\xff\xfe"])
def test_an_answer_that_is_not_the_contracts_is_unexpected(client: Client, service: FakeService, body: bytes) -> None:
    service.answer(200, body, "application/json")

    with pytest.raises(UnexpectedAnswerError, match="which is no ModelList of Lightbox"):
        client.models()


def test_a_redirect_is_reported_with_its_target(client: Client, service: FakeService, photograph: bytes) -> None:
    service.answer(302, b"", headers={"Location": "https://elsewhere.example/"})

    with pytest.raises(UnexpectedAnswerError, match=r"pointing to https://elsewhere\.example/"):
        client.classify(photograph)


def test_fields_that_this_client_does_not_know_are_ignored(client: Client, service: FakeService) -> None:
    document = client.version().model_dump() | {"colour": "blue"}
    service.answer_json(document)

    assert client.version().lightbox == "0.1.0"


@pytest.mark.parametrize("address", ["", "127.0.0.1:3000", "ftp://host", "http://", "localhost", "http://[::1"])
def test_what_is_no_address_is_refused_with_an_example(address: str) -> None:
    with pytest.raises(InvalidAddressError, match=r"looks like http://127\.0\.0\.1:3000"):
        Client(address)


@given(st.integers(min_value=0, max_value=10**6))
def test_retry_after_reads_seconds_and_dates_alike(seconds: int) -> None:
    date = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)

    assert parse_retry_after(str(seconds), NOW) == parse_retry_after(date, NOW) == seconds


@given(st.text())
def test_retry_after_takes_anything_and_never_asks_for_negative_time(value: str) -> None:
    wait_s = parse_retry_after(value, NOW)

    assert wait_s is None or wait_s >= 0
