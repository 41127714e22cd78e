import asyncio
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

CLASSIFY = "/v1/classify"
FORM = {"Content-Type": "multipart/form-data; boundary=cut"}


def part(name: str, content: bytes, filename: str = "cat.jpg") -> bytes:
    head = f'--cut\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n\r\n'
    return head.encode() + content + b"\r\n"


def send(
    app: Starlette, chunks: Sequence[bytes], headers: dict[str, str] | None = None, path: str = "/v1/classify"
) -> Exchange:
    async def talk() -> Exchange:
        exchange = Exchange(chunks)
        await exchange.run(app, http_scope("POST", path, headers))
        return exchange

    return asyncio.run(talk())


def test_an_image_of_exactly_the_limit_passes(app: Starlette, classifier: FakeClassifier) -> None:
    assert send(app, [b"x" * 600, b"", b"x" * 400]).status == 200
    assert classifier.images == [b"x" * 1000]


def test_an_image_is_refused_at_the_chunk_that_passes_the_limit_and_no_more_is_read(
    app: Starlette, classifier: FakeClassifier
) -> None:
    exchange = send(app, [b"x" * 600, b"x" * 401, b"x" * 600, b"x" * 600])

    assert exchange.status == 413
    assert exchange.json["code"] == "image_too_large"
    assert exchange.json["limit"] == 1000
    assert exchange.pulled == 2
    assert list(classifier.outcomes.values()) == ["image_too_large"]


@pytest.mark.parametrize("declared", ["1001", "9" * 5000])
def test_a_declared_length_over_the_limit_is_refused_before_anything_is_read(app: Starlette, declared: str) -> None:
    exchange = send(app, [b"x"], {"Content-Length": declared})

    assert exchange.status == 413
    assert exchange.pulled == 0


@pytest.mark.parametrize("declared", ["", "-1", "lots", "²"])
def test_a_declared_length_that_is_no_number_is_left_to_the_count(app: Starlette, declared: str) -> None:
    assert send(app, [b"x"], {"Content-Length": declared}).status == 200


def test_a_file_in_a_form_over_the_limit_is_refused(app: Starlette, state: AppState) -> None:
    exchange = send(app, [part("image", b"x" * 1001), b"--cut--"], FORM)

    assert exchange.status == 413
    assert exchange.json["limit"] == 1000
    assert state.budget.held_bytes == 0


def test_a_form_may_be_larger_than_its_image_but_not_without_end(app: Starlette) -> None:
    padding = b"p" * FORM_OVERHEAD_BYTES

    exchange = send(app, [part("top_k", b"1".rjust(1000)), part("image", b"x" * 1000), b"--cut--"], FORM)
    assert exchange.status == 200

    exchange = send(app, [part("padding", padding), part("image", b"x" * 1000), b"--cut--"], FORM)
    assert exchange.status == 413
    assert exchange.pulled == 2


def test_a_malformed_form_is_an_invalid_parameter(app: Starlette) -> None:
    exchange = send(app, [b"not a form at all"], FORM)

    assert exchange.status == 400
    assert exchange.json["code"] == "invalid_parameter"
    assert "malformed" in exchange.json["detail"]


def test_a_form_without_a_boundary_is_an_invalid_parameter(app: Starlette) -> None:
    exchange = send(app, [b"x"], {"Content-Type": "multipart/form-data"})

    assert exchange.status == 400
    assert "boundary" in exchange.json["detail"]


def test_uploads_beyond_the_budget_of_the_worker_are_shed(state: AppState) -> None:
    budget = ByteBudget(1500)
    app = app_over(replace(state, budget=budget))

    async def talk() -> Exchange:
        slow, shed = Exchange([b"x" * 900], is_whole=False), Exchange([b"x" * 900])
        first = asyncio.create_task(slow.run(app, http_scope("POST", "/v1/classify")))
        await slow.waits.wait()
        await shed.run(app, http_scope("POST", "/v1/classify"))
        assert budget.held_bytes == 900
        slow.hang_up()
        await first
        return shed

    shed = asyncio.run(talk())

    assert budget.held_bytes == 0
    assert shed.status == 429
    assert shed.json["code"] == "overloaded"
    assert shed.json["reason"] == "memory"
    assert shed.headers["retry-after"] == "1"


def test_a_request_that_does_not_arrive_in_time_is_refused(state: AppState, classifier: FakeClassifier) -> None:
    app = app_over(replace(state, settings=state.settings.model_copy(update={"receive_timeout_s": 0.001})))

    async def talk() -> Exchange:
        exchange = Exchange([b"half"], is_whole=False)
        await exchange.run(app, http_scope("POST", "/v1/classify"))
        return exchange

    exchange = asyncio.run(talk())

    assert exchange.status == 408
    assert exchange.json["code"] == "receive_timeout"
    assert exchange.json["limit_s"] == 0.001
    assert exchange.headers["connection"] == "close"
    assert list(classifier.outcomes.values()) == ["receive_timeout"]


@pytest.mark.parametrize("path", ["/v1/classify", "/classify"])
@pytest.mark.parametrize("headers", [{}, FORM], ids=["raw", "form"])
def test_a_request_that_does_not_arrive_before_its_deadline_is_answered_then(
    app: Starlette, classifier: FakeClassifier, path: str, headers: dict[str, str]
) -> None:
    exchange = Exchange([part("image", b"half")], is_whole=False)

    asyncio.run(exchange.run(app, http_scope("POST", path, headers, query="deadline_ms=1")))

    assert exchange.status == 504
    assert exchange.json["code"] == "deadline_exceeded"
    assert exchange.json["deadline_ms"] == 1
    assert list(classifier.outcomes.values()) == ["deadline_exceeded"]
    assert classifier.images == []


def test_a_deadline_beyond_the_time_to_send_leaves_that_as_it_is(state: AppState) -> None:
    app = app_over(replace(state, settings=state.settings.model_copy(update={"receive_timeout_s": 0.001})))
    exchange = Exchange([b"half"], is_whole=False)

    asyncio.run(exchange.run(app, http_scope("POST", "/v1/classify", query="deadline_ms=5000")))

    assert exchange.status == 408


def test_a_boundary_longer_than_any_client_sends_is_refused(app: Starlette) -> None:
    exchange = send(app, [b"x"], {"Content-Type": f"multipart/form-data; boundary={'b' * 257}"})

    assert exchange.status == 400
    assert "longer than 256 bytes" in exchange.json["detail"]


@pytest.mark.parametrize("boundary", ["----=_Part_0_1.2", "===============77==", "a/b:c,d?e", "'quoted'"])
def test_a_boundary_may_have_characters_that_clients_forget_to_quote(app: Starlette, boundary: str) -> None:
    file = part("image", b"x" * 10).replace(b"cut", boundary.encode())

    exchange = send(
        app, [file, f"--{boundary}--".encode()], {"Content-Type": f"multipart/form-data;\tboundary={boundary}"}
    )

    assert exchange.status == 200


@pytest.mark.parametrize("parameters", ['boundary="\\', ";;=;boundary", "boundary*=utf-8''x"])
def test_an_odd_content_type_is_a_bad_request_and_no_crash(app: Starlette, parameters: str) -> None:
    assert send(app, [b"x"], {"Content-Type": f"multipart/form-data; {parameters}"}).status == 400


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
