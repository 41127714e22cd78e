import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.testclient import TestClient

from bento_service.domain.requests import Priority
from bento_service.errors import (
    DeadlineExceededError,
    DrainingError,
    InferenceFailedError,
    LightboxError,
    NotReadyError,
    OverloadedError,
    TooManyPixelsError,
    UndecodableImageError,
    UnsupportedFormatError,
)
from bento_service.http.requests.parameters import ClassifyQuery
from bento_service.http.state import AppState
from lightbox_client.contract import Classification
from tests.fakes.classifier import FakeClassifier
from tests.http.exchange import Exchange, http_scope
from tests.http.expectations import expect_problem

IMAGE = b"\xff\xd8 an image"


@pytest.mark.parametrize(
    "sent",
    [
        *({"content": IMAGE, "headers": {"Content-Type": kind}} for kind in ("image/jpeg", "text/plain", "nonsense")),
        {"content": IMAGE},
        {"files": {"image": ("cat.jpg", IMAGE, "image/jpg")}},
    ],
)
def test_an_image_is_a_raw_body_of_any_type_or_a_field(
    client: TestClient, classifier: FakeClassifier, sent: Mapping[str, Any]
) -> None:
    assert client.post("/v1/classify", **sent).status_code == 200
    assert classifier.images == [IMAGE]


def test_an_answer_has_the_shape_of_the_contract(client: TestClient) -> None:
    response = client.post("/v1/classify?top_k=3", content=IMAGE)

    assert response.headers["content-type"] == "application/json"
    answer = Classification.model_validate_json(response.content)
    assert [prediction.score for prediction in answer.predictions] == [0.5, 0.25, 0.5 / 3]
    assert response.json() == {
        "request_id": response.headers["x-request-id"],
        "model": {"name": "lite0", "version": "v-lite0"},
        "predictions": [
            {"class_id": 0, "label": "class 0", "score": 0.5},
            {"class_id": 1, "label": "class 1", "score": 0.25},
            {"class_id": 2, "label": "class 2", "score": 0.5 / 3},
        ],
        "image": {"format": "JPEG", "width": 451, "height": 300},
        "warnings": ["exif_orientation_applied"],
        "cached": False,
        "batch_size": 4,
        "dispatch": "lane_free",
        "timings_ms": {"receive": 0.4, "decode": 1.3, "queue": 2.0, "inference": 9.1, "total": 13.0},
        "score_kind": "softmax",
    }


def test_model_and_deadline_reach_the_classifier(client: TestClient, classifier: FakeClassifier) -> None:
    response = client.post("/v1/classify?model=timm/resnet50.a1_in1k&deadline_ms=250.5", content=IMAGE)

    assert response.json()["model"]["name"] == "timm/resnet50.a1_in1k"
    assert len(response.json()["predictions"]) == 5
    assert classifier.deadlines_ms == [250.5]


def test_an_image_is_interactive_unless_its_header_says_bulk(client: TestClient, classifier: FakeClassifier) -> None:
    client.post("/v1/classify", content=IMAGE)
    client.post("/v1/classify", content=IMAGE, headers={"X-Priority": "Bulk"})
    client.post("/v1/classify/batch", files=[("images", IMAGE)] * 2, headers={"X-Priority": "bulk"})

    assert classifier.priorities == [Priority.INTERACTIVE, Priority.BULK, Priority.BULK, Priority.BULK]


def test_an_unknown_priority_is_refused_with_those_that_there_are(client: TestClient) -> None:
    response = client.post("/v1/classify", content=IMAGE, headers={"X-Priority": "urgent"})

    assert expect_problem(response, 400, "invalid_parameter").detail == (
        "The header X-Priority is 'urgent'; it must be interactive or bulk, or not be sent."
    )


@pytest.mark.parametrize(
    ("query", "parameter", "given", "allowed"),
    [
        ("top_k=abc", "top_k", "abc", "integer"),
        ("top_k=0", "top_k", "0", "greater than or equal to 1"),
        ("top_k=-3", "top_k", "-3", "greater than or equal to 1"),
        ("top_k=2.5", "top_k", "2.5", "integer"),
        ("top_k=" + "9" * 5000, "top_k", "9" * 100, "integer"),
        ("deadline_ms=0", "deadline_ms", "0", "greater than 0"),
        ("deadline_ms=nan", "deadline_ms", "nan", "finite"),
        ("deadline_ms=soon", "deadline_ms", "soon", "number"),
        ("model=" + "m" * 201, "model", "m" * 100, "200"),
    ],
)
def test_a_bad_parameter_is_named_with_what_is_allowed(
    client: TestClient, query: str, parameter: str, given: str, allowed: str
) -> None:
    problem = expect_problem(client.post(f"/v1/classify?{query}", content=IMAGE), 400, "invalid_parameter")

    assert problem.model_extra == {"parameter": parameter, "given": given}
    assert parameter in problem.detail
    assert given in problem.detail
    assert allowed in problem.detail


def test_a_model_that_is_not_served_is_refused_with_those_that_are(client: TestClient) -> None:
    problem = expect_problem(client.post("/v1/classify?model=nope", content=IMAGE), 404, "unknown_model")

    assert problem.model_extra == {"models": ["lite0", "timm/resnet50.a1_in1k"]}


FORM = {"Content-Type": "multipart/form-data; boundary=x"}
MIXED = {"Content-Type": "multipart/mixed; boundary=x"}


@pytest.mark.parametrize(
    ("sent", "code", "words"),
    [
        ({"content": b""}, "missing_image", "empty"),
        ({"content": b"", "headers": FORM}, "missing_image", "empty"),
        ({"files": {"image": ("cat.jpg", b"")}}, "missing_image", "empty"),
        ({"files": {"picture": ("cat.jpg", IMAGE)}}, "missing_image", "no field `image`; its fields: `picture`"),
        ({"content": IMAGE, "headers": MIXED}, "missing_image", "application/octet-stream"),
        ({"files": [("image", ("a", IMAGE)), ("image", ("b", IMAGE))]}, "invalid_parameter", "/v1/classify/batch"),
    ],
    ids=["no body", "empty form", "empty file", "another field", "another kind of form", "two images"],
)
def test_a_body_without_one_image_is_told_how_to_send_it(
    client: TestClient, classifier: FakeClassifier, sent: Mapping[str, Any], code: str, words: str
) -> None:
    problem = expect_problem(client.post("/v1/classify", **sent), 400, code)

    assert words in problem.detail
    assert classifier.outcomes == {problem.request_id: code}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (TooManyPixelsError("too many", limit=50), 413),
        (UnsupportedFormatError("what is this"), 415),
        (UndecodableImageError("cut short"), 422),
        (InferenceFailedError("the engine failed"), 500),
        (DeadlineExceededError("too late"), 504),
    ],
    ids=lambda value: getattr(value, "code", None),
)
def test_an_error_of_the_pipeline_is_its_problem_and_its_receipt(
    client: TestClient,
    classifier: FakeClassifier,
    caplog: pytest.LogCaptureFixture,
    error: LightboxError,
    status: int,
) -> None:
    classifier.fail = lambda encoded: error

    problem = expect_problem(client.post("/v1/classify", content=IMAGE), status, error.code)

    assert problem.detail == error.message
    assert classifier.outcomes == {problem.request_id: error.code}
    # A failure of the service's own is logged with its cause.
    assert [record.levelno for record in caplog.records] == ([logging.ERROR] if status == 500 else [])


@pytest.mark.parametrize("path", ["/v1/classify", "/classify"])
@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (OverloadedError("busy", retry_after_s=0.2, predicted_wait_ms=1300.0), (429, "overloaded", "1")),
        (NotReadyError("loading", retry_after_s=3.4), (503, "not_ready", "4")),
        (DrainingError("leaving", retry_after_s=5), (503, "draining", "5")),
    ],
)
def test_an_image_that_is_not_admitted_is_refused_before_its_body_is_read(
    app: Starlette, classifier: FakeClassifier, path: str, error: LightboxError, answer: tuple[int, str, str]
) -> None:
    classifier.refuse = lambda request_id: error
    exchange = Exchange([IMAGE])

    asyncio.run(exchange.run(app, http_scope("POST", path)))

    assert (exchange.status, exchange.json["code"], exchange.headers["retry-after"]) == answer
    assert exchange.pulled == 0


def make_validation_error() -> ValidationError:
    """What a defect of the service's own raises if it fills a model wrongly."""
    with pytest.raises(ValidationError) as caught:
        ClassifyQuery.model_validate({"top_k": "secret /path"})
    return caught.value


@pytest.mark.parametrize("defect", [RuntimeError("secret /path"), make_validation_error()])
def test_an_unexpected_exception_is_logged_and_not_shown(
    client: TestClient, classifier: FakeClassifier, caplog: pytest.LogCaptureFixture, defect: Exception
) -> None:
    classifier.fail = lambda encoded: defect

    response = client.post("/v1/classify", content=IMAGE)

    problem = expect_problem(response, 500, "internal_error")
    assert "secret" not in response.text
    assert problem.request_id in caplog.text
    assert "secret /path" in caplog.text
    assert classifier.outcomes == {problem.request_id: "internal_error"}


@pytest.mark.parametrize("outcome", [lambda encoded: None, lambda encoded: UndecodableImageError("no")])
def test_a_finished_request_holds_no_bytes_and_no_place(
    client: TestClient, classifier: FakeClassifier, state: AppState, outcome: Callable[[bytes], Exception | None]
) -> None:
    classifier.fail = outcome

    client.post("/v1/classify", content=IMAGE)
    client.post("/v1/classify", files={"image": IMAGE})

    assert state.budget.held_bytes == 0
    assert classifier.in_flight == 0
