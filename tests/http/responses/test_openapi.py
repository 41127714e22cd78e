from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from bento_service.domain.service import ServiceState
from bento_service.http.app import create_app
from bento_service.http.responses.problems import PROBLEM_TYPES
from bento_service.http.state import AppState
from tests.http.wiring import status_of

CALLS = {
    ("post", "/v1/classify"),
    ("post", "/v1/classify/batch"),
    ("post", "/v1/explain"),
    ("post", "/v1/preview"),
    ("get", "/v1/models"),
    ("get", "/v1/models/{name}"),
    ("get", "/v1/models/{name}/labels"),
    ("get", "/v1/models/{name}/versions"),
    *(
        ("post", f"/v1/models/{{name}}/{action}")
        for action in ("load", "unload", "promote", "rollback", "shadow", "canary")
    ),
    ("get", "/v1/history"),
    ("get", "/v1/history/requests"),
    ("get", "/v1/status"),
    ("get", "/version"),
}
UNDOCUMENTED = {"cancelled", "not_found", "method_not_allowed", "headers_too_large", "malformed_request"}
"""Nobody receives the first; the others belong to no call."""
Document = dict[str, Any]


@pytest.fixture
def document(client: TestClient) -> Document:
    found: Document = client.get("/v1/openapi.json").json()
    return found


def operations(document: Document) -> dict[tuple[str, str], Document]:
    return {(method, path): one for path, item in document["paths"].items() for method, one in item.items()}


def test_every_call_of_the_contract_is_described_and_no_other(document: Document) -> None:
    assert set(operations(document)) == CALLS


def test_every_code_is_described_with_an_example(document: Document) -> None:
    described = set()
    for operation in operations(document).values():
        for status, response in operation["responses"].items():
            problem = response.get("content", {}).get("application/problem+json", {})
            for code, example in problem.get("examples", {}).items():
                assert int(status) == PROBLEM_TYPES[code].status == example["value"]["status"]
                assert f"`{code}`" in response["description"]
                described.add(code)

    assert described == set(PROBLEM_TYPES) - UNDOCUMENTED


def test_every_call_has_a_typed_answer_and_typed_problems(document: Document) -> None:
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for operation in operations(document).values():
        assert operation["summary"]
        assert operation["description"]
        for status, response in operation["responses"].items():
            if status.startswith("2"):
                assert response["content"].keys() <= {"application/json", "image/png"}
                assert "$ref" in response["content"].get("application/json", {"schema": "$ref"})["schema"]
            else:
                [(media_type, content)] = response["content"].items()
                assert media_type == "application/problem+json"
                assert content["schema"] == {"$ref": "#/components/schemas/Problem"}


def test_classify_takes_a_raw_body_and_a_form(document: Document) -> None:
    content = document["paths"]["/v1/classify"]["post"]["requestBody"]["content"]

    assert {"image/jpeg", "image/*", "application/octet-stream", "multipart/form-data"} <= set(content)


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/classify/batch", "/v1/explain"])
def test_a_form_is_described_with_the_parameters_of_the_query(document: Document, path: str) -> None:
    call = document["paths"][path]["post"]
    form = call["requestBody"]["content"]["multipart/form-data"]["schema"]
    fields = {name: field["description"] for name, field in form["properties"].items() if name not in form["required"]}

    assert len(form["required"]) == 1
    assert fields == {one["name"]: one["description"] for one in call["parameters"] if one["in"] == "query"}


def test_parameters_are_described_with_their_limits(document: Document) -> None:
    parameters = {one["name"]: one for one in document["paths"]["/v1/classify"]["post"]["parameters"]}

    assert {name: one["in"] for name, one in parameters.items()} == {
        "model": "query",
        "top_k": "query",
        "deadline_ms": "query",
        "X-Priority": "header",
    }
    assert all(one["description"] for one in parameters.values())
    assert parameters["top_k"]["schema"]["minimum"] == 1


def test_the_docs_page_works_without_internet(state: AppState, tmp_path: Path) -> None:
    (tmp_path / "swagger-ui-bundle.js").write_text("bundle")
    (tmp_path / "swagger-ui.css").write_text("style")
    client = TestClient(
        create_app(lambda: state, provide_status=lambda: status_of(ServiceState.READY), swagger_assets=tmp_path)
    )

    page = client.get("/v1/docs")

    assert page.headers["content-type"].startswith("text/html")
    assert "https://" not in page.text
    assert "/v1/openapi.json" in page.text
    assert client.get("/v1/docs/assets/swagger-ui-bundle.js").text == "bundle"
    assert client.get("/v1/docs/assets/swagger-ui.css").text == "style"
    assert client.get("/v1/docs/assets/../conftest.py").status_code == 404


def test_the_docs_page_falls_back_to_the_libraries_own_assets(app: Starlette) -> None:
    assert "swagger-ui-bundle.js" in TestClient(app).get("/v1/docs").text
