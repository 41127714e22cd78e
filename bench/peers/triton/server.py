"""NVIDIA Triton through PyTriton: Triton's dynamic batcher in front of Python that decodes and classifies.

Batching decorators: https://triton-inference-server.github.io/pytriton/latest/inference_callables/decorators/
"""

# PyTriton is only in this peer's own environment.
# mypy: disable-error-code="import-not-found, untyped-decorator"

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from bench.peers.classifier import (
    TOP_K,
    ModelFiles,
    OpenVINOClassifier,
    prepare,
    read_model,
    read_port,
    read_workers,
    share_of_cpus,
)

Infer = Callable[..., dict[str, NDArray[np.generic]]]


def make_infer(model: ModelFiles) -> Infer:
    """Make one instance of the model: what Triton calls with a batch of encoded images."""
    classifier = OpenVINOClassifier(model, streams=1, threads=share_of_cpus())

    @batch
    def infer(image: NDArray[np.object_]) -> dict[str, NDArray[np.generic]]:
        pixels = np.stack([prepare(encoded, model) for (encoded,) in image])
        probabilities = classifier.classify(pixels)
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP_K]
        return {"class_id": best, "score": np.take_along_axis(probabilities, best, axis=1)}

    decorated: Infer = infer
    return decorated


def main() -> None:
    """Run until SIGTERM."""
    model = read_model()
    config = TritonConfig(
        http_address="127.0.0.1", http_port=read_port(), allow_grpc=False, allow_metrics=False, log_verbose=0
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="classifier",
            infer_func=[make_infer(model) for _ in range(read_workers())],
            inputs=[Tensor(name="image", dtype=np.bytes_, shape=(1,))],
            outputs=[
                Tensor(name="class_id", dtype=np.int64, shape=(TOP_K,)),
                Tensor(name="score", dtype=np.float32, shape=(TOP_K,)),
            ],
            config=ModelConfig(max_batch_size=16, batcher=DynamicBatcher(max_queue_delay_microseconds=1000)),
        )
        triton.serve()


if __name__ == "__main__":
    main()
