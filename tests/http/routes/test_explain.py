from collections.abc import Mapping
from typing import Any

import pytest
from starlette.testclient import TestClient

from bento_service.domain.requests import Priority
from bento_service.explain.explainer import Question
from lightbox_client.contract import Explanation
from tests.fakes.classifier import FakeClassifier
from tests.fakes.explainer import BIAS, GRID, FakeExplainer
from tests.http.wiring import Service

PATH = "/v1/explain"


@pytest.mark.parametrize(
    "sent", [{"content": b"image"}, {"files": {"image": ("cat.heic", b"image")}}], ids=["raw body", "form field"]
)
def test_an_explanation_says_what_speaks_for_the_best_class_and_where(
    client: TestClient, sent: Mapping[str, Any]
) -> None:
    answer = client.post(PATH, **sent)

    assert answer.status_code == 200
    explanation = Explanation.model_validate_json(answer.content)
    assert (explanation.method, explanation.is_exact, explanation.class_id) == ("cam", True, 0)
    assert (explanation.grid, explanation.bias) == (GRID.tolist(), BIAS)
    # The middle 7/8 of the short side of 451 x 300.
    box = explanation.box
    assert (box.left, box.top, box.width, box.height) == pytest.approx((94, 19, 262.5, 262.5), abs=1)
    assert explanation.warnings == ["exif_orientation_applied"]
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_parameters_come_in_the_query_or_in_the_form(client: TestClient, explainer: FakeExplainer) -> None:
    given = {"class_id": "3", "method": "occlusion", "model": "timm/resnet50.a1_in1k"}
    by_query = client.post(PATH, params=given, content=b"image").json()
    by_form = client.post(PATH, data=given, files={"image": b"image"}).json()

    for answer in (by_query, by_form):
        assert (answer["class_id"], answer["method"], answer["bias"]) == (3, "occlusion", None)
        assert answer["model"]["name"] == "timm/resnet50.a1_in1k"
    assert explainer.questions == [Question(3, "occlusion", None)] * 2


@pytest.mark.parametrize(
    ("accept", "is_picture"),
    [
        ("image/png", True),
        ("image/avif,image/*,*/*;q=0.8", True),
        ("application/json;q=0.5, image/png", True),
        ("application/json, image/png;q=0.9", False),
        ("*/*", False),
        ("text/html", False),
        ("", False),
    ],
)
def test_a_picture_is_the_answer_where_it_is_preferred(client: TestClient, accept: str, *, is_picture: bool) -> None:
    answer = client.post(PATH, params={"opacity": "0.25"}, headers={"Accept": accept}, content=b"image")

    if is_picture:
        assert (answer.headers["content-type"], answer.content) == ("image/png", b"\x89PNG at 0.25 of image")
    else:
        assert answer.json()["method"] == "cam"


@pytest.mark.parametrize("query", ["method=gradcam", "class_id=-1", "class_id=cat", "opacity=1.5", "top_k=3"])
def test_a_wrong_parameter_is_refused_before_the_body_is_read(
    client: TestClient, classifier: FakeClassifier, query: str
) -> None:
    answer = client.post(f"{PATH}?{query}", content=b"image")

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")
    assert classifier.images == []


def test_a_model_without_features_is_admitted_as_bulk_work(client: TestClient, classifier: FakeClassifier) -> None:
    client.post(PATH, content=b"image")
    client.post(PATH, params={"method": "occlusion"}, content=b"image")

    assert classifier.priorities == [Priority.BULK] * 2


def test_requests_are_counted_under_their_path(service: Service, client: TestClient) -> None:
    client.post(f"{PATH}?class_id=1", content=b"image")

    assert service.seen == [(PATH, "POST", 200)]
