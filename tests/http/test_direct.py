"""The short way to a call answers as FastAPI's own way does, whatever is asked."""

import asyncio
from functools import partial
from urllib.parse import urlencode

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from bento_service.errors import InferenceFailedError, OverloadedError
from bento_service.http.requests.parameters import ClassifyQuery
from tests.fakes.classifier import FakeClassifier
from tests.http.exchange import Exchange, http_scope

HEADERS = {"X-Request-ID": "the-same", "Content-Type": "image/jpeg"}
VALUES = st.one_of(
    st.sampled_from(["", "lite0", "unknown", "0", "1", "5", "11", "-1", "2.5", "1e400", "nan", "inf", "250", "null"]),
    st.text(max_size=5),
)
QUERIES = st.lists(st.tuples(st.sampled_from(["model", "top_k", "deadline_ms", "topk", ""]), VALUES), max_size=4)


def converse(app: ASGIApp, path: str, query: str) -> Exchange:
    exchange = Exchange([b"an image"])
    asyncio.run(exchange.run(app, http_scope("POST", path, HEADERS, query)))
    return exchange


def fastapi_way(app: FastAPI) -> ASGIApp:
    return partial(FastAPI.__call__, app)


def make_validation_error() -> ValidationError:
    """What a mistake of the service's own raises where it fills a model of its own."""
    with pytest.raises(ValidationError) as caught:
        ClassifyQuery.model_validate({"top_k": "an internal"})
    return caught.value


FAILURES = st.sampled_from(
    [None, InferenceFailedError("The model failed."), ZeroDivisionError("an internal"), make_validation_error()]
)


@pytest.mark.parametrize("path", ["/v1/classify", "/classify"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=QUERIES, failure=FAILURES)
@example(query=[], failure=make_validation_error())
def test_every_query_is_answered_as_fastapi_answers_it(
    app: FastAPI, classifier: FakeClassifier, path: str, query: list[tuple[str, str]], failure: Exception | None
) -> None:
    encoded = urlencode(query)
    classifier.fail = lambda image: failure

    direct, long_way = converse(app, path, encoded), converse(fastapi_way(app), path, encoded)

    assert direct.sent == long_way.sent


@pytest.mark.parametrize(
    "query", ["top_k=%ff", "top_k", "&&", "top_k=3;model=x", "top_k=1&top_k=2", "%00=1", "top_k=+3"]
)
def test_an_odd_query_is_read_as_fastapi_reads_it(app: FastAPI, query: str) -> None:
    direct, long_way = converse(app, "/v1/classify", query), converse(fastapi_way(app), "/v1/classify", query)

    assert direct.sent == long_way.sent


def test_a_refusal_is_answered_as_fastapi_answers_it(app: FastAPI, classifier: FakeClassifier) -> None:
    classifier.refuse = lambda request_id: OverloadedError("Too much.", retry_after_s=2.2, reason="target")

    direct, long_way = converse(app, "/v1/classify", ""), converse(fastapi_way(app), "/v1/classify", "")

    assert direct.sent == long_way.sent
    assert direct.status == 429
    assert direct.headers["retry-after"] == "3"


def test_a_failed_image_is_logged_and_an_unexpected_exception_told_to_nobody(
    app: FastAPI, classifier: FakeClassifier, caplog: pytest.LogCaptureFixture
) -> None:
    classifier.fail = lambda encoded: InferenceFailedError("The model failed on this image.")
    failed = converse(app, "/v1/classify", "")
    classifier.fail = lambda encoded: ZeroDivisionError("an internal")
    broken = converse(app, "/v1/classify", "")
    classifier.fail = lambda encoded: make_validation_error()
    misfilled = converse(app, "/v1/classify", "")

    assert (failed.status, broken.status, misfilled.status) == (500, 500, 500)
    assert b"an internal" not in broken.body + misfilled.body
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR", "ERROR"]


def test_another_method_on_the_same_path_goes_the_long_way(client: TestClient) -> None:
    response = client.get("/v1/classify")

    assert response.status_code == 405
    assert response.headers["allow"] == "POST"
