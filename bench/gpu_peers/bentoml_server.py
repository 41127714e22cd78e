"""BentoML in one service whose API is batchable, on a GPU.

Adaptive batching: https://docs.bentoml.com/en/latest/get-started/adaptive-batching.html
"""

# BentoML's decorators carry no types.
# mypy: disable-error-code="untyped-decorator"

from typing import Any

import bentoml
import numpy as np
from PIL.Image import Image

from bench.gpu_peers.engine import MAX_BATCH, open_engine
from bench.peers.classifier import answer, crop, read_model, read_workers


@bentoml.service(workers=read_workers(), traffic={"timeout": 60})
class Classifier:
    """Classifies batches that BentoML collects."""

    def __init__(self) -> None:
        """Load the model, in each worker."""
        self.model = read_model()
        self.engine = open_engine(lanes=1)

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=60_000)
    def classify(self, images: list[Image]) -> list[dict[str, Any]]:
        """Prepare the images and classify them together."""
        batch = np.stack([crop(image, self.model) for image in images])
        return [answer(row, self.model.labels) for row in self.engine.infer(batch)]
