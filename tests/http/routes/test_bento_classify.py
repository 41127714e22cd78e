import asyncio
from collections.abc import Mapping
from dataclasses import replace

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from bento_service.domain.service import ServiceState
from bento_service.errors import NotReadyError, OverloadedError, UndecodableImageError
from bento_service.http.app import create_app
from bento_service.http.requests.body import ByteBudget
from bento_service.http.state import AppState
from lightbox_client.contract import Classification
from tests.fakes.classifier import FakeClassifier, Gate
from tests.http.exchange import Exchange, http_scope
from tests.http.expectations import expect_problem
from tests.http.requests.test_upload import FORM, part
from tests.http.wiring import app_over, gateway_over, status_of

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


def test_a_raw_body_is_an_image_too_and_the_query_says_what_is_asked_for(
    client: TestClient, classifier: FakeClassifier
) -> None:
    response = client.post("/classify?top_k=2", content=IMAGE, headers={"Content-Type": "image/jpeg"})

    assert len(response.json()["predictions"]) == 2
    assert classifier.images == [IMAGE]


@pytest.mark.parametrize(
    ("field", "text", "allowed"),
    [
        ("top_k", "0", "greater than or equal to 1"),
        ("top_k", "2.5", "integer"),
        ("top_k", "true", "integer"),
        ("top_k", "[" * 1000, "integer"),
        ("top_k", "9" * 1000, "10"),
        ("top_k", "11", "10"),
        ("deadline_ms", "-1", "greater than 0"),
        ("deadline_ms", "NaN", "finite"),
        ("deadline_ms", '"soon"', "number"),
        ("model", "m" * 201, "200"),
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
def test_an_unknown_model_is_answered_with_those_that_exist(client: TestClient, model: str) -> None:
    problem = expect_problem(client.post("/classify", files=FILE, data={"model": model}), 404, "unknown_model")

    assert problem.model_extra == {"models": ["lite0", OTHER]}


def test_a_text_in_place_of_the_image_is_told_to_send_a_file(client: TestClient, classifier: FakeClassifier) -> None:
    form = {"image": (None, "http://169.254.169.254/latest")}

    assert "as a file" in expect_problem(client.post("/classify", files=form), 400, "missing_image").detail
    assert classifier.images == []


def test_a_form_without_an_image_is_answered_with_the_fields_it_has(client: TestClient) -> None:
    response = client.post("/classify", files={"top_k": (None, "2")})

    assert "`top_k`" in expect_problem(response, 400, "missing_image").detail


@pytest.mark.parametrize("content_type", ["application/json", "application/vnd.bentoml+pickle"])
def test_bentomls_other_encodings_are_images_like_any_body_and_never_unpacked(
    client: TestClient, classifier: FakeClassifier, content_type: str
) -> None:
    client.post("/classify", content=b"cbuiltins\neval\n", headers={"Content-Type": content_type})

    assert classifier.images == [b"cbuiltins\neval\n"]


def test_an_error_of_the_pipeline_is_its_problem(client: TestClient, classifier: FakeClassifier) -> None:
    classifier.fail = lambda encoded: UndecodableImageError("cut short")

    assert expect_problem(client.post("/classify", files=FILE), 422, "undecodable_image").detail == "cut short"


def test_an_overloaded_service_refuses_before_the_body_is_read(app: Starlette, classifier: FakeClassifier) -> None:
    classifier.refuse = lambda request_id: OverloadedError("busy", retry_after_s=2, reason="target")
    exchange = Exchange([part("image", IMAGE), b"--cut--"])

    asyncio.run(exchange.run(app, http_scope("POST", "/classify", FORM)))

    assert (exchange.status, exchange.headers["retry-after"], exchange.pulled) == (429, "2", 0)


def test_it_is_not_ready_while_the_models_load() -> None:
    def loading() -> AppState:
        raise NotReadyError("The models are still loading.", retry_after_s=2)

    app = create_app(loading, provide_status=lambda: status_of(ServiceState.LOADING))

    expect_problem(TestClient(gateway_over(app)).post("/classify", files=FILE), 503, "not_ready")


def test_its_uploads_are_bounded_and_counted_towards_the_budget(state: AppState, classifier: FakeClassifier) -> None:
    budget = ByteBudget(600)
    app = app_over(replace(state, budget=budget))
    too_large, shed = Exchange([part("image", b"x" * 70_000), b"--cut--"]), Exchange([part("image", b"x" * 601)])

    for exchange in (too_large, shed):
        asyncio.run(exchange.run(app, http_scope("POST", "/classify", FORM)))

    assert (too_large.status, too_large.json["code"]) == (413, "image_too_large")
    assert (shed.status, shed.json["reason"]) == (429, "memory")
    assert list(classifier.outcomes.values()) == ["image_too_large", "overloaded"]
    assert budget.held_bytes == 0


def test_a_client_that_hangs_up_while_waiting_cancels_its_image(app: Starlette, classifier: FakeClassifier) -> None:
    async def talk() -> Exchange:
        classifier.gate = Gate()
        exchange = Exchange([part("image", IMAGE), b"--cut--"])
        task = asyncio.create_task(exchange.run(app, http_scope("POST", "/classify", FORM)))
        await classifier.gate.wait_for_arrivals(1)
        exchange.hang_up()
        await task
        return exchange

    assert asyncio.run(talk()).sent == []
    assert list(classifier.outcomes.values()) == ["cancelled"]
