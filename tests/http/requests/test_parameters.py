"""A parameter that a call has not got is refused: ignored, it would seem to work."""

import pytest
from starlette.testclient import TestClient

from tests.fakes.classifier import FakeClassifier
from tests.http.expectations import expect_problem

WINDOW = "model, since, until"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v1/classify", "model, top_k, deadline_ms"),
        ("POST", "/v1/classify/batch", "model, top_k"),
        ("POST", "/classify", "model, top_k, deadline_ms"),
        ("GET", "/v1/history", f"{WINDOW}, buckets"),
        ("GET", "/v1/history/requests", f"{WINDOW}, order, limit, model_version, outcome, request_id, offset"),
        ("GET", "/v1/models", "none"),
        ("GET", "/v1/models/lite0", "none"),
        ("GET", "/v1/models/lite0/labels", "none"),
        ("GET", "/v1/status", "none"),
        ("GET", "/version", "none"),
    ],
)
def test_an_unknown_parameter_is_named_with_those_that_the_call_has(
    client: TestClient, classifier: FakeClassifier, method: str, path: str, allowed: str
) -> None:
    problem = expect_problem(client.request(method, f"{path}?topk=3", content=b"x"), 400, "invalid_parameter")

    assert problem.detail == f"There is no parameter 'topk' here. Allowed: {allowed}."
    assert problem.model_extra is not None
    assert problem.model_extra["parameter"] == "topk"
    assert classifier.images == []


def test_an_unknown_parameter_is_given_back_in_part_only(client: TestClient) -> None:
    problem = expect_problem(client.get("/version?" + "x" * 5000), 400, "invalid_parameter")

    assert len(problem.detail) < 200


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("POST", "/v1/classify", "model=&top_k=&deadline_ms="),
        ("POST", "/classify", "model=&top_k=&deadline_ms="),
        ("GET", "/v1/history", "model=&since=&until=&buckets="),
        ("GET", "/v1/history/requests", "model=&since=&until=&order=&limit=&outcome=&request_id=&offset="),
    ],
)
def test_an_empty_value_counts_as_not_given(client: TestClient, method: str, path: str, query: str) -> None:
    headers = {"X-Request-ID": "the-same", "X-Priority": ""}
    empty = client.request(method, f"{path}?{query}", content=b"x", headers=headers)

    assert empty.status_code == 200
    assert empty.json() == client.request(method, path, content=b"x", headers=headers).json()


def test_a_name_that_is_unknown_is_refused_though_its_value_is_empty(client: TestClient) -> None:
    expect_problem(client.get("/v1/history?unti="), 400, "invalid_parameter")
