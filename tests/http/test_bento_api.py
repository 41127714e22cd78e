import asyncio
from dataclasses import replace

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from bento_service.domain import ServiceState
from bento_service.errors import NotReadyError, UndecodableImageError
from bento_service.http.budget import ByteBudget
from bento_service.http.edge import Edge
from bento_service.http.guard import Guard
from bento_service.http.upload import FORM_OVERHEAD_BYTES
from tests.fakes.bento import FakeBento
from tests.http.exchange import Exchange, http_scope
from tests.http.expectations import expect_problem
from tests.http.wiring import PATHS, Service, serve, status_of


@pytest.mark.parametrize(("state", "code"), [(ServiceState.LOADING, "not_ready"), (ServiceState.DRAINING, "draining")])
def test_a_service_that_is_not_ready_says_why_and_when_to_ask_again(
    http: TestClient, service: Service, state: ServiceState, code: str
) -> None:
    service.bento.is_ready = False
    service.state = state

    response = http.get("/readyz")

    expect_problem(response, 503, code)
    assert response.headers["retry-after"] == "1"


def test_classify_of_bentoml_knows_the_request_id(http: TestClient) -> None:
    response = http.post("/classify", content=b"image", headers={"X-Request-ID": "mine"})

    assert response.json() == {"request_id": "mine"}
    assert response.headers["x-request-id"] == "mine"


def test_an_error_noted_by_the_api_is_answered_as_its_problem(http: TestClient, service: Service) -> None:
    service.bento.error = UndecodableImageError("cut short")

    assert expect_problem(http.post("/classify", content=b"x"), 422, "undecodable_image").detail == "cut short"


def test_an_error_without_a_note_tells_nothing(http: TestClient, service: Service) -> None:
    service.bento.error = RuntimeError("secret")

    assert "secret" not in expect_problem(http.post("/classify", content=b"x"), 500, "internal_error").detail


@pytest.mark.parametrize(
    ("status", "translated", "code"),
    [
        (400, 400, "invalid_parameter"),
        (415, 400, "invalid_parameter"),
        (429, 429, "overloaded"),
        (503, 503, "not_ready"),
        (504, 504, "deadline_exceeded"),
        (500, 500, "internal_error"),
        (502, 500, "internal_error"),
    ],
)
def test_a_failure_of_bentoml_itself_becomes_the_problem_that_its_status_stands_for(
    http: TestClient, service: Service, status: int, translated: int, code: str
) -> None:
    service.bento.status = status

    problem = expect_problem(http.post("/classify", content=b"x"), translated, code)

    assert ("image: Field required" in problem.detail) is (
        code in {"invalid_parameter", "overloaded", "deadline_exceeded"}
    )


def test_a_body_over_the_limit_never_reaches_bentoml(app: FastAPI, edge: Edge) -> None:
    roomy = replace(edge, budget=ByteBudget(1_000_000))
    service = serve(app, roomy)
    limit = edge.settings.max_image_bytes + FORM_OVERHEAD_BYTES
    declared, streamed = Exchange([b"x"]), Exchange([b"x" * limit, b"x", b"x"])

    asyncio.run(declared.run(service.guard, http_scope("POST", "/classify", {"Content-Length": str(limit + 1)})))
    asyncio.run(streamed.run(service.guard, http_scope("POST", "/classify")))

    for exchange, pulled in ((declared, 0), (streamed, 2)):
        assert exchange.status == 413
        assert exchange.json["code"] == "image_too_large"
        assert exchange.pulled == pulled
    assert service.bento.bodies == []
    assert roomy.budget.held_bytes == 0


def test_a_body_that_does_not_arrive_in_time_is_refused(app: FastAPI, edge: Edge) -> None:
    service = serve(app, replace(edge, settings=edge.settings.model_copy(update={"receive_timeout_s": 0.001})))
    exchange = Exchange([b"half"], is_whole=False)

    asyncio.run(exchange.run(service.guard, http_scope("POST", "/classify")))

    assert exchange.status == 408
    assert exchange.json["code"] == "receive_timeout"


def test_bodies_on_their_way_to_bentoml_count_towards_the_budget(service: Service, edge: Edge) -> None:
    edge.budget.take(edge.settings.max_inflight_bytes)
    exchange = Exchange([b"x"])

    asyncio.run(exchange.run(service.guard, http_scope("POST", "/classify")))

    assert exchange.status == 429
    assert exchange.json["reason"] == "memory"


def test_a_client_that_hangs_up_on_bentoml_gets_no_answer(service: Service) -> None:
    async def talk() -> Exchange:
        exchange = Exchange([b"half"], is_whole=False)
        exchange.hang_up()
        await exchange.run(service.guard, http_scope("POST", "/classify"))
        return exchange

    assert asyncio.run(talk()).sent == []
    assert service.seen == [("/classify", "POST", 499)]


def test_classify_of_bentoml_is_not_ready_while_the_models_load(app: FastAPI) -> None:
    def loading() -> Edge:
        raise NotReadyError("The models are still loading.", retry_after_s=2)

    bento = FakeBento()
    guard = Guard(
        bento.app(),
        app,
        PATHS,
        provide=loading,
        status=lambda: status_of(ServiceState.LOADING),
        on_request=lambda route, method, status, seconds: None,
    )

    expect_problem(TestClient(guard).post("/classify", content=b"x"), 503, "not_ready")
    assert bento.paths == []
