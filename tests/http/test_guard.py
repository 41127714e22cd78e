import asyncio
from dataclasses import dataclass, field, replace

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from bento_service.domain import ServiceState
from bento_service.errors import LightboxError, NotReadyError, UndecodableImageError
from bento_service.http.bento_api import note_error
from bento_service.http.budget import ByteBudget
from bento_service.http.edge import Edge
from bento_service.http.guard import Guard
from bento_service.http.request_id import request_id_of
from bento_service.http.upload import FORM_OVERHEAD_BYTES
from tests.http.conftest import status_of
from tests.http.exchange import Exchange, http_scope
from tests.http.expectations import expect_problem

PATHS = frozenset({"/", "/classify", "/livez", "/readyz", "/metrics", "/gone"})


@dataclass
class FakeBento:
    """Answers the way BentoML does: plain text for probes, a one-element list for a 4xx, no cause for a 500."""

    is_ready: bool = True
    error: Exception | None = None
    status: int = 200
    bodies: list[bytes] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def app(self) -> Starlette:
        routes = [
            Route("/", self._text),
            Route("/livez", self._text),
            Route("/metrics", self._text),
            Route("/readyz", self._ready),
            Route("/classify", self._classify, methods=["POST"]),
        ]
        return Starlette(routes=routes)

    async def _text(self, request: Request) -> Response:
        return PlainTextResponse("\n")

    async def _ready(self, request: Request) -> Response:
        if not self.is_ready:
            raise HTTPException(503, "Service is not ready because .__is_ready__() returns False.")
        return PlainTextResponse("\n")

    async def _classify(self, request: Request) -> Response:
        self.paths.append(request.url.path)
        try:
            self.bodies.append(await request.body())
            if isinstance(self.error, LightboxError):
                note_error(request.scope, self.error)
            if self.error is not None:
                raise self.error
        except Exception:  # noqa: BLE001 - as BentoML does
            return JSONResponse({"error": "An unexpected error has occurred"}, status_code=500)
        if self.status >= 400:
            return JSONResponse([{"error": "image: Field required"}], status_code=self.status)
        return JSONResponse({"request_id": request_id_of(request.scope)})


@dataclass
class Service:
    """A guard over a fake BentoML and the real edge, and what it told the metrics."""

    guard: Guard
    bento: FakeBento
    seen: list[tuple[str, str, int]]
    state: ServiceState = ServiceState.READY


@pytest.fixture
def service(app: FastAPI, edge: Edge) -> Service:
    return serve(app, edge)


def serve(app: FastAPI, edge: Edge) -> Service:
    bento = FakeBento()
    seen: list[tuple[str, str, int]] = []

    def on_request(route: str, method: str, status: int, seconds: float) -> None:
        assert seconds >= 0
        seen.append((route, method, status))

    def status():  # noqa: ANN202
        return status_of(service.state)

    guard = Guard(bento.app(), app, PATHS, provide=lambda: edge, status=status, on_request=on_request)
    service = Service(guard, bento, seen)
    return service


@pytest.fixture
def http(service: Service) -> TestClient:
    return TestClient(service.guard)


@pytest.mark.parametrize("path", ["/v1/models", "/version", "/v1/status", "/v1/openapi.json"])
def test_the_contract_is_answered_by_the_edge(http: TestClient, path: str) -> None:
    assert http.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/metrics"])
def test_the_paths_of_bentoml_are_answered_by_bentoml(http: TestClient, path: str) -> None:
    response = http.get(path)

    assert (response.status_code, response.text) == (200, "\n")
    assert len(response.headers["x-request-id"]) == 32


@pytest.mark.parametrize("path", ["/wp-login.php", "/v1", "/v2/models", "/classify/", "/versions", "//", "/livez/../x"])
def test_any_other_path_is_a_problem_that_bentoml_never_sees(http: TestClient, service: Service, path: str) -> None:
    exchange = Exchange()
    asyncio.run(exchange.run(service.guard, http_scope("GET", path)))

    assert exchange.status == 404
    assert exchange.json["code"] == "not_found"
    assert exchange.json["request_id"] == exchange.headers["x-request-id"]
    assert service.bento.paths == []
    assert service.seen == [("unmatched", "GET", 404)]


def test_requests_are_counted_by_route_templates_and_never_by_raw_paths(http: TestClient, service: Service) -> None:
    http.get("/v1/models/timm/resnet50.a1_in1k")
    http.get("/v1/models/nope/labels")
    http.get("/v1/nope/7")
    http.get("/v1/classify")
    http.post("/v1/classify", content=b"x")
    http.get("/livez")
    http.request("BREW", "/pot")

    assert service.seen == [
        ("/v1/models/{name:path}", "GET", 200),
        ("/v1/models/{name:path}/labels", "GET", 404),
        ("unmatched", "GET", 404),
        ("/v1/classify", "GET", 405),
        ("/v1/classify", "POST", 200),
        ("/livez", "GET", 200),
        ("unmatched", "other", 404),
    ]


def test_a_client_that_hung_up_is_counted_as_499(service: Service) -> None:
    async def talk() -> None:
        exchange = Exchange([b"half"], is_whole=False)
        exchange.hang_up()
        await exchange.run(service.guard, http_scope("POST", "/v1/classify"))
        assert exchange.sent == []

    asyncio.run(talk())

    assert service.seen == [("/v1/classify", "POST", 499)]


def test_a_wrong_method_on_a_path_of_bentoml_is_a_problem(http: TestClient) -> None:
    response = http.get("/classify")

    expect_problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


def test_a_path_that_bentoml_does_not_have_after_all_is_a_problem(http: TestClient) -> None:
    expect_problem(http.get("/gone"), 404, "not_found")


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


def test_an_exception_of_bentomls_application_is_answered_and_goes_no_further(
    app: FastAPI, edge: Edge, caplog: pytest.LogCaptureFixture
) -> None:
    async def explode(request: Request) -> Response:
        raise RuntimeError("secret")

    guard = Guard(
        Starlette(routes=[Route("/", explode)]),
        app,
        PATHS,
        provide=lambda: edge,
        status=lambda: status_of(ServiceState.READY),
        on_request=lambda route, method, status, seconds: None,
    )

    assert "secret" not in expect_problem(TestClient(guard).get("/"), 500, "internal_error").detail
    assert "secret" in caplog.text


def test_a_web_socket_is_closed(service: Service) -> None:
    exchange = Exchange()

    asyncio.run(exchange.run(service.guard, {"type": "websocket", "path": "/v1/classify", "headers": []}))

    assert [message["type"] for message in exchange.sent] == ["websocket.close"]


def test_lifespan_events_are_those_of_bentoml(app: FastAPI, edge: Edge) -> None:
    seen = []

    async def bento(scope: dict, receive: object, send: object) -> None:
        seen.append(scope["type"])

    guard = Guard(
        bento,
        app,
        PATHS,
        provide=lambda: edge,
        status=lambda: status_of(ServiceState.READY),
        on_request=lambda route, method, status, seconds: None,
    )
    asyncio.run(Exchange().run(guard, {"type": "lifespan"}))

    assert seen == ["lifespan"]
