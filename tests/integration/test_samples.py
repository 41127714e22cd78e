"""What the bundled models make of the dashboard's samples."""

import pytest
import requests

from dashboard.gallery import SAMPLES
from dashboard.wording import CONFIDENT_FROM, DOUBTFUL_BELOW
from tests.integration.running_service import RunningService


@pytest.mark.parametrize("model", ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"])
def test_every_bundled_model_knows_the_dashboards_samples_but_the_last(service: RunningService, model: str) -> None:
    scores = [
        requests.post(
            f"{service.url}/v1/classify", params={"model": model, "top_k": "1"}, data=sample.path.read_bytes()
        ).json()["predictions"][0]["score"]
        for sample in SAMPLES
    ]

    assert all(score > CONFIDENT_FROM for score in scores[:-1])
    assert scores[-1] < DOUBTFUL_BELOW
