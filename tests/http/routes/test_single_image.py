"""What the calls that take one image have in common."""

import pytest
from starlette.testclient import TestClient

from bento_service.errors import DrainingError, LightboxError, OverloadedError, UndecodableImageError
from bento_service.http.state import AppState
from tests.fakes.classifier import FakeClassifier

pytestmark = pytest.mark.parametrize("path", ["/v1/explain", "/v1/preview"])


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OverloadedError("Too much waits.", retry_after_s=2, reason="target"), 429),
        (DrainingError("Shutting down.", retry_after_s=1), 503),
    ],
)
def test_what_is_not_admitted_is_refused_before_its_body_is_read(
    client: TestClient, classifier: FakeClassifier, path: str, error: LightboxError, status: int
) -> None:
    classifier.refuse = lambda request_id: error

    answer = client.post(path, content=b"image")

    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.headers["retry-after"]
    assert classifier.images == []


def test_an_undecodable_image_frees_its_place(
    client: TestClient, classifier: FakeClassifier, state: AppState, path: str
) -> None:
    classifier.fail = lambda encoded: UndecodableImageError("The HEIC is truncated.")

    assert client.post(path, content=b"image").json()["code"] == "undecodable_image"
    assert (classifier.in_flight, state.budget.held_bytes) == (0, 0)
