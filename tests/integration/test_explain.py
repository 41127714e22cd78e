"""Explanations of the real service, with a real model."""

import io
import math

import pytest
from PIL import Image

from bench.composites import make_composites
from lightbox_client import Client
from lightbox_client.contract import Explanation, HistoryRequest
from tests.integration.running_service import RunningService, wait_until
from tests.unit.images.encodings import exif_with_orientation


def logit_of(explanation: Explanation) -> float:
    cells = [value for row in explanation.grid for value in row]
    assert explanation.bias is not None
    return math.fsum(cells) / len(cells) + explanation.bias


def receipts_of(client: Client, explanation: Explanation) -> list[HistoryRequest]:
    return client.history_requests(request_id=explanation.request_id).requests


def test_the_map_of_a_turned_photograph_points_at_the_object_and_adds_up_to_the_scores(service: RunningService) -> None:
    _, espresso = make_composites(2, seed=1)
    stored = io.BytesIO()
    # As a phone stores it that was turned to the left: the viewer turns it back to the right.
    with Image.open(io.BytesIO(espresso.encoded)) as upright:
        size = upright.size
        turned = upright.transpose(Image.Transpose.ROTATE_90)
        turned.save(stored, "JPEG", quality=95, exif=exif_with_orientation(6))
    encoded = stored.getvalue()

    with Client(service.url) as client:
        answer = client.classify(encoded)
        best, other = (client.explain(encoded, class_id=one.class_id) for one in answer.predictions[:2])
        occluded = client.explain(encoded, class_id=espresso.class_id, method="occlusion")
        picture = client.explain_as_png(encoded)
        mapped = client.explain(encoded, class_id=espresso.class_id)
        wait_until(lambda: bool(receipts_of(client, mapped)))  # the last one

        assert [receipt.outcome for one in (occluded, mapped) for receipt in receipts_of(client, one)] == ["ok", "ok"]

    assert (best.method, best.is_exact, occluded.method, occluded.is_exact) == ("cam", True, "occlusion", False)
    assert best.label == answer.predictions[0].label
    assert best.score == pytest.approx(answer.predictions[0].score, abs=1e-6)
    assert logit_of(best) - logit_of(other) == pytest.approx(math.log(best.score / other.score), abs=1e-4)
    left, top, right, bottom = espresso.rectangle
    for explanation in (mapped, occluded):
        assert (explanation.image.width, explanation.image.height) == size
        cell = explanation.strongest
        assert left <= cell.left + cell.width / 2 < right
        assert top <= cell.top + cell.height / 2 < bottom
    with Image.open(io.BytesIO(picture)) as shown:
        assert shown.size == size
