"""BentoML in two services: one prepares images, the other runs the model in batches and is called through `depends()`.

Interservice communication: https://docs.bentoml.com/en/latest/build-with-bentoml/distributed-services.html
"""

# BentoML's decorators carry no types.
# mypy: disable-error-code="untyped-decorator"

import asyncio
import os
from typing import Any

import bentoml
import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from bench.peers.classifier import OpenVINOClassifier, answer, crop, read_model, read_workers


@bentoml.service(workers=1, traffic={"timeout": 60})
class Runner:
    """Runs the model on batches that BentoML collects."""

    def __init__(self) -> None:
        """Load the model."""
        self.classifier = OpenVINOClassifier(read_model(), streams=1, threads=len(os.sched_getaffinity(0)))

    @bentoml.api(batchable=True, max_batch_size=16, max_latency_ms=60_000)
    def infer(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Classify a batch."""
        return self.classifier.classify(batch)


@bentoml.service(workers=read_workers(), traffic={"timeout": 60})
class Classifier:
    """Prepares images for the runner."""

    runner = bentoml.depends(Runner)

    def __init__(self) -> None:
        """Read the labels."""
        self.model = read_model()

    @bentoml.api
    async def classify(self, image: Image) -> dict[str, Any]:
        """Prepare one image, and have it classified with whatever else waits."""
        pixels = await asyncio.to_thread(crop, image, self.model)
        probabilities = await self.runner.to_async.infer(pixels[None])
        return answer(probabilities[0], self.model.labels)
