"""LitServe with dynamic batching: `max_batch_size` and `batch_timeout`, and the hooks it calls for each batch.

Batching: https://lightning.ai/docs/litserve/features/batching
"""

# LitServe is only in this peer's own environment.
# mypy: disable-error-code="import-not-found, misc"

from typing import Any

import litserve
import numpy as np
from fastapi import Request
from numpy.typing import NDArray

from bench.peers.classifier import (
    OpenVINOClassifier,
    answer,
    prepare,
    read_model,
    read_port,
    read_workers,
    share_of_cpus,
)


class ClassifierAPI(litserve.LitAPI):
    """Decodes each image, classifies the batch, answers each image."""

    def setup(self, device: str) -> None:
        """Load the model, in each worker."""
        self.model = read_model()
        self.infer = OpenVINOClassifier(self.model, streams=1, threads=share_of_cpus()).classify

    def decode_request(self, request: Request) -> NDArray[np.uint8]:
        """Prepare one image, which came as the form's field `image`; LitServe has read the form by now."""
        form: Any = request
        return prepare(form["image"].file.read(), self.model)

    def batch(self, inputs: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Stack the images that wait."""
        return np.stack(inputs)

    def predict(self, x: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Classify a batch."""
        return self.infer(x)

    def unbatch(self, output: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Split the answers."""
        return list(output)

    def encode_response(self, output: NDArray[np.float32]) -> dict[str, Any]:
        """Answer one image."""
        return answer(output, self.model.labels)


def serve(api: ClassifierAPI, **options: Any) -> None:  # noqa: ANN401 - LitServer's
    """Answer on `BENCH_PORT` until the process ends; `options` are those of LitServer."""
    # As LitServer's own description advises above 100 requests a second.
    server = litserve.LitServer(api, workers_per_device=read_workers(), timeout=60, fast_queue=True, **options)
    server.run(host="127.0.0.1", port=read_port(), generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    serve(ClassifierAPI(max_batch_size=16, batch_timeout=0.005, api_path="/classify"), accelerator="cpu")
