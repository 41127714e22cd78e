"""What `/classify` takes beside what `/v1/classify` does: fields of a form as JSON values."""

import asyncio
from collections.abc import Mapping

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from lightbox_client.contract import Classification
from tests.fakes.classifier import FakeClassifier
from tests.http.exchange import Exchange, http_scope
from tests.http.expectations import expect_problem
from tests.http.requests.test_upload import FORM, part

IMAGE = b"\xff\xd8 an image"
FILE = {"image": ("cat.jpg", IMAGE, "image/jpeg")}
OTHER = "timm/resnet50.a1_in1k"


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({}, ("lite0", 5, None)),
        ({"top_k": "2"}, ("lite0", 2, None)),
        ({"model": f'"{OTHER}"', "top_k": "1", "deadline_ms": "250.5"}, (OTHER, 1, 250.5)),
        ({"model": OTHER, "top_k": '"3"', "deadline_ms": "1e3"}, (OTHER, 3, 1000.0)),
        ({"model": "null", "top_k": "null", "deadline_ms": "null"}, ("lite0", 5, None)),
        ({"model": "", "deadline_ms": '""'}, ("lite0", 5, None)),
    ],
    ids=["none", "one", "as JSON", "as text", "null", "empty"],
)
def test_a_form_carries_the_image_and_what_is_asked_for(
    client: TestClient, classifier: FakeClassifier, fields: Mapping[str, str], asked: tuple[str, int, float | None]
) -> None:
    response = client.post("/classify", files=FILE, data=fields)

    answer = Classification.model_validate_json(response.content)
    assert (answer.model.name, len(answer.predictions), *classifier.deadlines_ms) == asked
    assert answer.request_id == response.headers["x-request-id"]
    assert classifier.images == [IMAGE]


def test_fields_may_come_after_the_image(app: Starlette) -> None:
    body = part("image", IMAGE) + b'--cut\r\nContent-Disposition: form-data; name="top_k"\r\n\r\n2\r\n--cut--\r\n'
    exchange = Exchange([body[index : index + 1] for index in range(len(body))])

    asyncio.run(exchange.run(app, http_scope("POST", "/classify", FORM)))

    assert len(exchange.json["predictions"]) == 2


@pytest.mark.parametrize(
    ("field", "text", "allowed"),
    [
        ("top_k", "true", "integer"),
        ("top_k", "[" * 1000, "integer"),
        ("top_k", "0", "1"),
        ("deadline_ms", '"soon"', "number"),
        ("model", "m" * 1025, "1024"),
    ],
)
def test_a_bad_field_is_named_with_what_is_allowed(
    client: TestClient, classifier: FakeClassifier, field: str, text: str, allowed: str
) -> None:
    problem = expect_problem(client.post("/classify", files=FILE, data={field: text}), 400, "invalid_parameter")

    assert problem.model_extra is not None
    assert problem.model_extra["parameter"] == field
    assert allowed in problem.detail
    assert classifier.images == []
    assert classifier.outcomes == {problem.request_id: "invalid_parameter"}


@pytest.mark.parametrize("model", ["nope", '"nope"', "7", '"\\ud800"', "\x00"])
def test_an_unknown_model_is_refused(client: TestClient, model: str) -> None:
    expect_problem(client.post("/classify", files=FILE, data={"model": model}), 404, "unknown_model")


@pytest.mark.parametrize("content_type", ["application/json", "application/vnd.bentoml+pickle"])
def test_bentomls_other_encodings_are_never_unpacked(
    client: TestClient, classifier: FakeClassifier, content_type: str
) -> None:
    client.post("/classify", content=b"cbuiltins\neval\n", headers={"Content-Type": content_type})

    assert classifier.images == [b"cbuiltins\neval\n"]
