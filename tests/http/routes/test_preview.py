from collections.abc import Mapping
from typing import Any

import pytest
from starlette.testclient import TestClient

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
