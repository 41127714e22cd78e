import asyncio

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from bento_service.domain.service import ServiceState
from bento_service.errors import OverloadedError
from bento_service.http.connection.rejection_pacer import RejectionPacer
from tests.fakes.classifier import FakeClassifier
from tests.http.exchange import Exchange, http_scope
from tests.http.expectations import expect_problem
from tests.http.wiring import Service, gateway_over


@pytest.mark.parametrize("path", ["/v1/models", "/version", "/v1/status", "/v1/openapi.json"])
def test_the_contract_is_answered_by_our_application(client: TestClient, service: Service, path: str) -> None:
    assert client.get(path).status_code == 200
    assert service.bento.paths == []


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/metrics"])
def test_the_paths_of_bentoml_are_answered_by_bentoml(client: TestClient, service: Service, path: str) -> None:
    response = client.get(path)

    assert (response.status_code, response.text) == (200, "\n")
    assert len(response.headers["x-request-id"]) == 32
    assert service.bento.paths == [path]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "OPTIONS"])
def test_bentomls_own_parser_never_sees_its_classify_call(client: TestClient, service: Service, method: str) -> None:
    response = client.request(method, "/classify", content=b"image")

    assert response.status_code == (200 if method == "POST" else 405)
    assert service.bento.paths == []


@pytest.mark.parametrize("path", ["/wp-login.php", "/v1", "/v2/models", "/classify/", "/versions", "//", "/livez/../x"])
def test_any_other_path_is_a_problem_that_bentoml_never_sees(service: Service, path: str) -> None:
    exchange = Exchange()
    asyncio.run(exchange.run(service.gateway, http_scope("GET", path)))

    assert exchange.status == 404
    assert exchange.json["code"] == "not_found"
    assert exchange.json["request_id"] == exchange.headers["x-request-id"]
    assert service.bento.paths == []
    assert service.seen == [("unmatched", "GET", 404)]


def test_head_is_answered_wherever_get_is_and_with_the_same_headers(client: TestClient, service: Service) -> None:
    described = client.get("/v1/openapi.json").json()["paths"]
    calls = [path.replace("{name}", "lite0") for path, methods in described.items() if "get" in methods]
    service.seen.clear()

    for path in (*calls, "/v1/openapi.json", "/v1/docs", "/livez", "/v1/models/none", "/v1/status?nonsense=1"):
        headers = {"X-Request-ID": "the-same"}
        head, get = client.head(path, headers=headers), client.get(path, headers=headers)
        assert (head.status_code, head.headers, head.content) == (get.status_code, get.headers, b"")
        assert [seen[1] for seen in service.seen[-2:]] == ["HEAD", "GET"]
        assert service.seen[-2][0] == service.seen[-1][0]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v1/models", "GET, HEAD"),
        ("DELETE", "/version", "GET, HEAD"),
        ("PUT", "/v1/docs", "GET, HEAD"),
        ("HEAD", "/v1/classify", "POST"),
    ],
)
def test_a_refused_method_lists_head_beside_get(client: TestClient, method: str, path: str, allowed: str) -> None:
    response = client.request(method, path)

    assert (response.status_code, response.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("/v1/models/timm/resnet50.a1_in1k", ("/v1/models/{name:path}", "GET", 200)),
        ("/v1/models/nope/labels", ("/v1/models/{name:path}/labels", "GET", 404)),
        ("/v1/nope/7", ("unmatched", "GET", 404)),
        ("/v1/classify", ("/v1/classify", "GET", 405)),
        ("/v1/classify", ("/v1/classify", "POST", 200)),
        ("/classify", ("/classify", "POST", 200)),
        ("/livez", ("/livez", "GET", 200)),
        ("/pot", ("unmatched", "BREW", 404)),
    ],
)
def test_requests_are_counted_by_route_templates(
    client: TestClient, service: Service, path: str, seen: tuple[str, str, int]
) -> None:
    client.request(seen[1], path, content=b"x")

    assert service.seen == [seen]


def test_a_client_that_hung_up_is_counted_as_499(service: Service) -> None:
    async def talk() -> None:
        exchange = Exchange([b"half"], is_whole=False)
        exchange.hang_up()
        await exchange.run(service.gateway, http_scope("POST", "/v1/classify"))
        assert exchange.sent == []

    asyncio.run(talk())

    assert service.seen == [("/v1/classify", "POST", 499)]


def test_an_exception_of_bentomls_application_is_a_problem(app: Starlette, caplog: pytest.LogCaptureFixture) -> None:
    async def explode(request: Request) -> Response:
        raise RuntimeError("secret")

    gateway = gateway_over(app, bento_app=Starlette(routes=[Route("/", explode)]))

    assert "secret" not in expect_problem(TestClient(gateway).get("/"), 500, "internal_error").detail
    assert "secret" in caplog.text


@pytest.mark.parametrize("is_draining", [False, True])
def test_a_draining_servers_answers_end_the_connection(app: Starlette, is_draining: bool) -> None:
    gateway = gateway_over(app, is_draining=lambda: is_draining)

    answers = [TestClient(gateway).get(path) for path in ("/version", "/nowhere", "/")]

    assert [answer.headers.get("Connection") for answer in answers] == ["close" if is_draining else None] * 3


def test_lifespan_events_are_those_of_bentoml(app: Starlette) -> None:
    seen: list[str] = []

    async def bento(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    asyncio.run(Exchange().run(gateway_over(app, bento_app=bento), {"type": "lifespan"}))

    assert seen == ["lifespan"]


class HeldPacer(RejectionPacer):
    """Holds every refusal until the test lets it go."""

    def __init__(self) -> None:
        super().__init__(cpus=1)
        self.retry_after_s: list[float] = []
        self.is_asked = asyncio.Event()
        self.may_go = asyncio.Event()

    async def pace(self, scope: Scope, retry_after_s: float) -> None:
        self.retry_after_s.append(retry_after_s)
        self.is_asked.set()
        await self.may_go.wait()


def test_a_rejection_by_the_application_is_paced_and_delays_no_other(
    app: Starlette, classifier: FakeClassifier
) -> None:
    classifier.refuse = lambda request_id: OverloadedError("Too much.", retry_after_s=2.2, reason="target")

    async def talk() -> None:
        pacer = HeldPacer()
        # The drain begins while the refusal is held.
        gateway = gateway_over(app, is_draining=pacer.may_go.is_set, pacer=pacer)
        refused, other = Exchange([b"image"]), Exchange()
        waiting = asyncio.create_task(refused.run(gateway, http_scope("POST", "/v1/classify")))
        await pacer.is_asked.wait()
        await other.run(gateway, http_scope("GET", "/version"))
        assert (other.status, refused.status, pacer.retry_after_s) == (200, None, [3.0])
        pacer.may_go.set()
        await waiting
        assert (refused.status, refused.headers["connection"]) == (429, "close")

    asyncio.run(talk())


@pytest.mark.parametrize(("state", "code"), [(ServiceState.LOADING, "not_ready"), (ServiceState.DRAINING, "draining")])
def test_a_service_that_is_not_ready_says_why_and_when_to_ask_again(
    client: TestClient, service: Service, state: ServiceState, code: str
) -> None:
    service.bento.is_ready = False
    service.state = state

    response = client.get("/readyz")

    expect_problem(response, 503, code)
    assert response.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("call", "bento_status", "problem"),
    [
        ("POST /livez", 200, (405, "method_not_allowed")),
        ("GET /gone", 200, (404, "not_found")),
        ("GET /", 400, (400, "invalid_parameter")),
        ("GET /", 416, (400, "invalid_parameter")),
        ("GET /", 500, (500, "internal_error")),
        ("GET /", 502, (500, "internal_error")),
    ],
)
def test_a_failure_of_bentoml_is_a_problem_that_hides_its_cause(
    client: TestClient, service: Service, call: str, bento_status: int, problem: tuple[int, str]
) -> None:
    service.bento.status = bento_status

    method, path = call.split()
    response = client.request(method, path)

    assert "secret" not in expect_problem(response, *problem).detail
    assert service.bento.paths == [path]
    assert response.headers.get("allow") == ("GET, HEAD" if call == "POST /livez" else None)
