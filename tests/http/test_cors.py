"""Web pages of other origins: none by default; those that LIGHTBOX_CORS_ORIGINS lists read every answer, errors too."""

import pytest
from httpx2 import Response
from starlette.applications import Starlette
from starlette.testclient import TestClient

from bento_service.errors import OverloadedError
from tests.fakes.classifier import FakeClassifier
from tests.http.expectations import expect_problem
from tests.http.wiring import gateway_over

IMAGE_FIGURES = ("Format", "Width", "Height", "Warnings")
LISTED, OTHER = "https://app.example.org", "https://evil.example.org"


def open_to(app: Starlette, *origins: str) -> TestClient:
    return TestClient(gateway_over(app, cors_origins=origins))


def preflight(client: TestClient, path: str, origin: str) -> Response:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-priority,traceparent",
        "Access-Control-Request-Private-Network": "true",
    }
    return client.options(path, headers=headers)


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/classify/batch", "/classify", "/readyz", "/nowhere"])
def test_a_listed_origin_may_send_any_method_and_header(app: Starlette, path: str) -> None:
    response = preflight(open_to(app, LISTED), path, LISTED)

    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == LISTED
    assert "POST" in response.headers["access-control-allow-methods"]
    assert response.headers["access-control-allow-headers"] == "content-type,x-priority,traceparent"
    assert response.headers["access-control-allow-private-network"] == "true"
    assert "access-control-allow-credentials" not in response.headers
    assert response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/classify", 200),
        ("HEAD", "/v1/models", 200),
        ("GET", "/livez", 200),
        ("GET", "/nowhere", 404),
        ("DELETE", "/v1/models", 405),
        ("POST", "/livez", 405),
        ("POST", "/v1/classify?top_k=abc", 400),
    ],
)
def test_a_listed_origin_may_read_each_answer_and_its_id(app: Starlette, method: str, path: str, status: int) -> None:
    headers = {"Origin": LISTED, "X-Request-ID": "the-same"}
    response = open_to(app, OTHER, LISTED).request(method, path, headers=headers, content=b"x")

    assert response.status_code == status
    assert response.headers["access-control-allow-origin"] == LISTED
    exposed = set(response.headers["access-control-expose-headers"].split(", "))
    assert exposed == {"X-Request-ID", "Retry-After", *(f"X-Image-{name}" for name in IMAGE_FIGURES)}
    assert response.headers["x-request-id"] == "the-same"
    assert "Origin" in response.headers["vary"]


@pytest.mark.parametrize(
    ("fault", "error", "expected"),
    [("refuse", OverloadedError("busy", retry_after_s=2), (429, "2")), ("fail", RuntimeError("secret"), (500, None))],
)
def test_a_listed_origin_reads_rejections_and_failures(
    app: Starlette, classifier: FakeClassifier, fault: str, error: Exception, expected: tuple[int, str | None]
) -> None:
    setattr(classifier, fault, lambda asked: error)
    response = open_to(app, LISTED).post("/v1/classify", content=b"x", headers={"Origin": LISTED})

    assert (response.status_code, response.headers.get("retry-after")) == expected
    assert response.headers["access-control-allow-origin"] == LISTED


@pytest.mark.parametrize("origins", [(), (LISTED,)], ids=["CORS off", "another origin listed"])
def test_another_origin_is_answered_as_if_there_were_no_cors(app: Starlette, origins: tuple[str, ...]) -> None:
    client = open_to(app, *origins)

    expect_problem(preflight(client, "/v1/classify", OTHER), 405, "method_not_allowed")
    for response in (preflight(client, "/v1/classify", OTHER), client.get("/version", headers={"Origin": OTHER})):
        assert not [name for name in response.headers if name.startswith("access-control-")]


def test_a_star_lists_every_origin(app: Starlette) -> None:
    response = open_to(app, "*").get("/version", headers={"Origin": OTHER})

    assert response.headers["access-control-allow-origin"] == "*"
