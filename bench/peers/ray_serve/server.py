"""Ray Serve with `@serve.batch`.

Dynamic batching: https://docs.ray.io/en/latest/serve/advanced-guides/dyn-req-batch.html
"""

# Ray is only in this peer's own environment, and its decorators carry no types.
# mypy: disable-error-code="import-not-found, untyped-decorator, attr-defined"

import asyncio
import signal
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray import serve
from starlette.requests import Request

from bench.peers.classifier import (
    OpenVINOClassifier,
    answer,
    prepare,
    read_model,
    read_port,
    read_workers,
    share_of_cpus,
)


# More requests at once than the default of 5, as the guide advises for batching: they are what batches are made of.
@serve.deployment(num_replicas=read_workers(), max_ongoing_requests=64, ray_actor_options={"num_cpus": 0.5})
class Classifier:
    """Prepares images in threads and classifies them in batches."""

    def __init__(self) -> None:
        """Load the model, in each replica."""
        self.model = read_model()
        self.classifier = OpenVINOClassifier(self.model, streams=1, threads=share_of_cpus())

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.005)
    async def infer(self, images: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """Classify a batch, in a thread, so that the replica goes on receiving."""
        return list(await asyncio.to_thread(self.classifier.classify, np.stack(images)))

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Answer one image."""
        pixels = await asyncio.to_thread(prepare, await request.body(), self.model)
        return answer(await self.infer(pixels), self.model.labels)


def main() -> None:
    """Run until SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    ray.init(include_dashboard=False, object_store_memory=200_000_000, logging_level="warning")
    serve.start(http_options={"host": "127.0.0.1", "port": read_port()})
    serve.run(Classifier.bind(), route_prefix="/classify")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
