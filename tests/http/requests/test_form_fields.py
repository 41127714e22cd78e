"""Parameters as fields of a form: the rules of the query hold for them, and none goes unread."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import pytest
from httpx2 import Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.fakes.classifier import FakeClassifier
from tests.http.exchange import Exchange, http_scope
from tests.http.expectations import expect_problem
from tests.http.requests.test_upload import FORM, part

IMAGE = b"\xff\xd8 an image"
OTHER = "timm/resnet50.a1_in1k"
PATHS = ["/v1/classify", "/v1/classify/batch", "/classify"]
SINGLE = ["/v1/classify", "/classify"]
VALUES = st.one_of(
    st.sampled_from(["", "lite0", "unknown", "0", "1", "5", "11", "-1", "2.5", "1e400", "nan", "inf", "250", "null"]),
    st.text(max_size=5),
)
QUERIES = st.lists(st.tuples(st.sampled_from(["model", "top_k", "deadline_ms", "topk"]), VALUES), max_size=4)


def post(client: TestClient, path: str, fields: Mapping[str, str], query: Mapping[str, str] | None = None) -> Response:
    files = [("images", ("a.jpg", IMAGE)), ("images", ("b.jpg", IMAGE))] if "batch" in path else {"image": IMAGE}
    return client.post(path, params=query, files=files, data=fields)


def results(answer: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """The model and the number of predictions of each image."""
    for item in answer.get("results", [{"result": answer}]):
        yield item["result"]["model"]["name"], len(item["result"]["predictions"])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("fields", "query", "asked"),
    [
        ({"model": OTHER, "top_k": "1"}, {}, (OTHER, 1)),
        ({"top_k": "2"}, {"model": OTHER}, (OTHER, 2)),
        ({"top_k": " 03 ", "model": OTHER}, {"top_k": "3", "model": OTHER}, (OTHER, 3)),
        ({"top_k": "", "model": ""}, {"top_k": "3"}, ("lite0", 3)),
        ({"top_k": "2"}, {"top_k": "", "model": ""}, ("lite0", 2)),
    ],
    ids=["form", "form and query", "the same in both", "empty in the form", "empty in the query"],
)
def test_fields_of_the_form_count_as_parameters_of_the_query_do(
    client: TestClient, path: str, fields: Mapping[str, str], query: Mapping[str, str], asked: tuple[str, int]
) -> None:
    response = post(client, path, fields, query)

    assert set(results(response.json())) == {asked}


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parameters=QUERIES)
def test_a_form_is_answered_as_the_query_of_the_same_parameters_is(
    app: Starlette, parameters: list[tuple[str, str]]
) -> None:
    def ask(fields: list[tuple[str, str]], query: str) -> Exchange:
        parts = [part(name, value.encode()) for name, value in fields]
        exchange = Exchange([*parts, part("image", IMAGE), b"--cut--"])
        headers = FORM | {"X-Request-ID": "the-same"}
        asyncio.run(exchange.run(app, http_scope("POST", "/v1/classify", headers, query)))
        return exchange

    assert ask(parameters, "").sent == ask([], urlencode(parameters)).sent


@pytest.mark.parametrize("path", SINGLE)
def test_a_deadline_may_come_in_the_form(client: TestClient, classifier: FakeClassifier, path: str) -> None:
    assert post(client, path, {"deadline_ms": "250.5"}).status_code == 200
    assert classifier.deadlines_ms == [250.5]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("top_k", "0"),
        ("model", "m" * 201),
        ("model", "nonsense"),
        ("deadline_ms", "nan"),
        ("topk", "3"),
    ],
)
def test_a_bad_field_gives_the_same_problem_as_a_bad_query_parameter(
    client: TestClient, classifier: FakeClassifier, path: str, name: str, value: str
) -> None:
    in_form = post(client, path, {name: value}).json()
    in_query = post(client, path, {}, {name: value}).json()

    assert in_form["code"] in {"invalid_parameter", "unknown_model"}
    assert in_form | {"request_id": ""} == in_query | {"request_id": ""}
    assert classifier.images == []
    assert classifier.in_flight == 0


@pytest.mark.parametrize("path", PATHS)
def test_a_field_that_contradicts_the_query_is_refused(
    client: TestClient, classifier: FakeClassifier, path: str
) -> None:
    problem = expect_problem(post(client, path, {"top_k": "3"}, {"top_k": "2"}), 400, "invalid_parameter")

    assert problem.detail == "top_k is 2 in the query and 3 in the form. Send it once."
    assert problem.model_extra == {"parameter": "top_k"}
    assert classifier.images == []


def test_an_image_in_an_unknown_field_is_refused(client: TestClient) -> None:
    files = [("images", ("a.jpg", IMAGE)), ("image", ("b.jpg", IMAGE))]
    problem = expect_problem(client.post("/v1/classify/batch", files=files), 400, "invalid_parameter")

    assert problem.detail == "There is no parameter 'image' here. Allowed: model, top_k."
