from collections.abc import Mapping
from typing import Any

import pytest
from starlette.testclient import TestClient

from bento_service.errors import DrainingError, LightboxError, OverloadedError, UndecodableImageError
from bento_service.http.state import AppState
from tests.fakes.classifier import FakeClassifier

PATH = "/v1/preview"


@pytest.mark.parametrize(
    "sent", [{"content": b"image"}, {"files": {"image": ("cat.heic", b"image")}}], ids=["raw body", "form field"]
)
def test_a_preview_is_a_png_that_says_what_image_it_shows(client: TestClient, sent: Mapping[str, Any]) -> None:
    answer = client.post(PATH, **sent)

    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.content == b"\x89PNG of image"
    assert answer.headers["x-image-format"] == "HEIC"
    assert (answer.headers["x-image-width"], answer.headers["x-image-height"]) == ("4032", "3024")
    assert answer.headers["x-image-warnings"] == "first_frame_used, alpha_flattened"
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OverloadedError("Too much waits.", retry_after_s=2, reason="target"), 429),
        (DrainingError("Shutting down.", retry_after_s=1), 503),
    ],
)
def test_a_preview_that_is_not_admitted_is_refused_before_its_body_is_read(
    client: TestClient, classifier: FakeClassifier, error: LightboxError, status: int
) -> None:
    classifier.refuse = lambda request_id: error

    answer = client.post(PATH, content=b"image")

    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.headers["retry-after"]
    assert classifier.images == []


def test_an_undecodable_image_frees_its_place(client: TestClient, classifier: FakeClassifier, state: AppState) -> None:
    classifier.fail = lambda encoded: UndecodableImageError("The HEIC is truncated.")

    assert client.post(PATH, content=b"image").json()["code"] == "undecodable_image"
    assert (classifier.in_flight, state.budget.held_bytes) == (0, 0)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ({"content": b""}, "missing_image"),
        ({"content": b"x" * 1001}, "image_too_large"),
        ({"files": {"picture": b"image"}}, "missing_image"),
        ({"content": b"image", "params": {"model": "lite0"}}, "invalid_parameter"),
    ],
)
def test_a_body_is_read_by_the_rules_of_a_classification(
    client: TestClient, sent: Mapping[str, Any], code: str
) -> None:
    assert client.post(PATH, **sent).json()["code"] == code
