import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from bento_service.http.requests.body import ByteBudget
from bento_service.http.requests.upload import FORM_OVERHEAD_BYTES
from bento_service.http.state import AppState
from tests.fakes.classifier import FakeClassifier
from tests.http.exchange import Exchange, http_scope
from tests.http.wiring import app_over

Headers = dict[str, str]
FORM = {"Content-Type": "multipart/form-data; boundary=cut"}


def part(name: str, content: bytes, filename: str = "cat.jpg") -> bytes:
    head = f'--cut\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n\r\n'
    return head.encode() + content + b"\r\n"


def send(
    app: Starlette,
    chunks: Sequence[bytes],
    headers: Headers | None = None,
    path: str = "/v1/classify",
    *,
    query: str = "",
    is_whole: bool = True,
) -> Exchange:
    exchange = Exchange(chunks, is_whole=is_whole)
    asyncio.run(exchange.run(app, http_scope("POST", path, headers, query)))
    return exchange


def test_an_image_of_exactly_the_limit_passes(app: Starlette, classifier: FakeClassifier) -> None:
    assert send(app, [b"x" * 600, b"", b"x" * 400]).status == 200
    assert classifier.images == [b"x" * 1000]


@pytest.mark.parametrize(
    ("sent", "pulled"),
    [
        (([b"x" * 600, b"x" * 401, b"x" * 600, b"x" * 600], {}), 2),
        (([b"x"], {"Content-Length": "1001"}), 0),
        (([b"x"], {"Content-Length": "9" * 5000}), 0),
        (([part("image", b"x" * 1001), b"--cut--"], FORM), 2),
        (([part("padding", b"p" * FORM_OVERHEAD_BYTES), part("image", b"x" * 1000), b"--cut--"], FORM), 2),
    ],
    ids=["counted", "declared", "declared at length", "file of a form", "rest of a form"],
)
def test_an_upload_over_the_limit_is_refused_and_not_read_further(
    app: Starlette, state: AppState, classifier: FakeClassifier, sent: tuple[list[bytes], Headers], pulled: int
) -> None:
    exchange = send(app, *sent)

    assert (exchange.status, exchange.json["code"], exchange.json["limit"]) == (413, "image_too_large", 1000)
    assert exchange.pulled == pulled
    assert list(classifier.outcomes.values()) == ["image_too_large"]
    assert state.budget.held_bytes == 0


@pytest.mark.parametrize("declared", ["", "-1", "lots", "²"])
def test_a_declared_length_that_is_no_number_is_left_to_the_count(app: Starlette, declared: str) -> None:
    assert send(app, [b"x"], {"Content-Length": declared}).status == 200


def test_a_form_may_be_larger_than_its_image(app: Starlette) -> None:
    assert send(app, [part("top_k", b"1".rjust(1000)), part("image", b"x" * 1000), b"--cut--"], FORM).status == 200


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ("; boundary=cut", "malformed"),
        ("", "boundary"),
        (f"; boundary={'b' * 257}", "longer than 256 bytes"),
        ('; boundary="\\', "malformed"),
        (";;=;boundary", "malformed"),
        ("; boundary*=utf-8''x", "malformed"),
    ],
)
def test_a_malformed_form_is_an_invalid_parameter(app: Starlette, parameters: str, reason: str) -> None:
    exchange = send(app, [b"not a form at all"], {"Content-Type": f"multipart/form-data{parameters}"})

    assert (exchange.status, exchange.json["code"]) == (400, "invalid_parameter")
    assert reason in exchange.json["detail"]


@pytest.mark.parametrize("boundary", ["----=_Part_0_1.2", "===============77==", "a/b:c,d?e", "'quoted'"])
def test_a_boundary_may_have_characters_that_clients_forget_to_quote(app: Starlette, boundary: str) -> None:
    file = part("image", b"x" * 10).replace(b"cut", boundary.encode())
    headers = {"Content-Type": f"multipart/form-data;\tboundary={boundary}"}

    assert send(app, [file, f"--{boundary}--".encode()], headers).status == 200


def test_a_long_content_type_does_not_hold_the_event_loop(app: Starlette) -> None:
    begun_s = time.process_time()
    answer = send(app, [b"x"], {"Content-Type": 'multipart/form-data; boundary="' + ";" * 64_000})
    assert time.process_time() - begun_s < 0.5
    assert answer.status == 400


def test_uploads_beyond_the_budget_of_the_worker_are_rejected(state: AppState) -> None:
    budget = ByteBudget(1500)
    app = app_over(replace(state, budget=budget))

    async def talk() -> Exchange:
        slow, rejected = Exchange([b"x" * 900], is_whole=False), Exchange([b"x" * 900])
        first = asyncio.create_task(slow.run(app, http_scope("POST", "/v1/classify")))
        await slow.waits.wait()
        await rejected.run(app, http_scope("POST", "/v1/classify"))
        assert budget.held_bytes == 900
        slow.hang_up()
        await first
        return rejected

    rejected = asyncio.run(talk())

    assert budget.held_bytes == 0
    assert (rejected.status, rejected.json["code"], rejected.json["reason"]) == (429, "overloaded", "memory")
    assert rejected.headers["retry-after"] == "1"


@pytest.mark.parametrize("query", ["", "deadline_ms=5000"])
def test_a_request_that_does_not_arrive_in_time_is_refused(
    state: AppState, classifier: FakeClassifier, query: str
) -> None:
    app = app_over(replace(state, settings=state.settings.model_copy(update={"receive_timeout_s": 0.001})))

    exchange = send(app, [b"half"], query=query, is_whole=False)

    assert (exchange.status, exchange.json["code"], exchange.json["limit_s"]) == (408, "receive_timeout", 0.001)
    assert exchange.headers["connection"] == "close"
    assert list(classifier.outcomes.values()) == ["receive_timeout"]


@pytest.mark.parametrize("path", ["/v1/classify", "/classify"])
@pytest.mark.parametrize("headers", [{}, FORM], ids=["raw", "form"])
def test_a_request_that_misses_its_deadline_is_answered_then(
    app: Starlette, classifier: FakeClassifier, path: str, headers: Headers
) -> None:
    exchange = send(app, [part("image", b"half")], headers, path, query="deadline_ms=1", is_whole=False)

    assert (exchange.status, exchange.json["code"], exchange.json["deadline_ms"]) == (504, "deadline_exceeded", 1)
    assert list(classifier.outcomes.values()) == ["deadline_exceeded"]
    assert classifier.images == []


@given(
    st.lists(st.binary(max_size=400), max_size=6),
    st.sampled_from(["image/jpeg", "multipart/form-data; boundary=cut", "application/x-www-form-urlencoded", "\x00"])
    | st.text(st.characters(codec="ascii"), max_size=40),
    st.sampled_from(["/v1/classify", "/v1/classify/batch", "/classify"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_body_of_any_declared_type_is_a_defect_of_the_server(
    app: Starlette, state: AppState, chunks: list[bytes], content_type: str, path: str
) -> None:
    exchange = send(app, [*chunks, b""], {"Content-Type": content_type}, path)

    assert exchange.status in {200, 400, 413}
    assert state.budget.held_bytes == 0
