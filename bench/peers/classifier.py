"""What every peer has in common: how an image is prepared, how the model runs, and what an answer looks like.

Needs numpy, Pillow and OpenVINO, and nothing of Lightbox, as it runs in each peer's own virtual environment. The model
comes in the environment: `BENCH_MODEL` names a JSON file that `bench.models` wrote.
"""

import io
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import LifoQueue
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from PIL import Image

MODEL_VARIABLE, PORT_VARIABLE, WORKERS_VARIABLE = "BENCH_MODEL", "BENCH_PORT", "BENCH_WORKERS"
TOP_K = 5


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """An exported model: `onnx_path` takes uint8 RGB (n, size_px, size_px, 3) and returns softmax probabilities."""

    onnx_path: str
    labels: Sequence[str]
    size_px: int
    crop_fraction: float


def read_model() -> ModelFiles:
    """Read what `BENCH_MODEL` points at, and prepare a first image.

    Pillow imports its plugins with it. Where several threads meet in that, Python 3.11 may hang for good.
    """
    model = ModelFiles(**json.loads(Path(os.environ[MODEL_VARIABLE]).read_text()))
    blank = io.BytesIO()
    Image.new("RGB", (model.size_px, model.size_px)).save(blank, "JPEG")
    prepare(blank.getvalue(), model)
    return model


def read_port() -> int:
    """Return the port that a peer is to listen on."""
    return int(os.environ[PORT_VARIABLE])


def read_workers() -> int:
    """Return how many workers a peer is to run, where it has such a setting."""
    return int(os.environ.get(WORKERS_VARIABLE, "1"))


def share_of_cpus() -> int:
    """Return how many CPUs each of the workers may use."""
    return max(1, len(os.sched_getaffinity(0)) // read_workers())


def prepare(encoded: bytes, model: ModelFiles) -> NDArray[np.uint8]:
    """Decode an image and make timm's evaluation crop of it: shape (size_px, size_px, 3), RGB, 0-255."""
    return crop(Image.open(io.BytesIO(encoded)), model)


def crop(image: Image.Image, model: ModelFiles) -> NDArray[np.uint8]:
    """Make timm's evaluation crop: the short side resized with a bicubic filter, then the centre cut out."""
    short_px = math.floor(model.size_px / model.crop_fraction)
    width_px, height_px = image.size
    if width_px <= height_px:
        size = (short_px, int(short_px * height_px / width_px))
    else:
        size = (int(short_px * width_px / height_px), short_px)
    resized = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    left, top = round((size[0] - model.size_px) / 2), round((size[1] - model.size_px) / 2)
    return np.asarray(resized.crop((left, top, left + model.size_px, top + model.size_px)))


def answer(probabilities: NDArray[np.float32], labels: Sequence[str]) -> dict[str, Any]:
    """Make one image's answer of its row of probabilities: the best classes, best first."""
    best = np.argsort(-probabilities, kind="stable")[:TOP_K]
    return {
        "predictions": [
            {"class_id": int(number), "label": labels[number], "score": float(probabilities[number])} for number in best
        ]
    }


class OpenVINOClassifier:
    """The exported model in OpenVINO, f32, on the CPU. `classify` may be called from several threads at once."""

    def __init__(self, model: ModelFiles, *, streams: int, threads: int, has_batches: bool = True) -> None:
        """Compile the model.

        Args:
            model: What to compile.
            streams: Batches that run at once; one gives all threads to each batch.
            threads: Compute threads of all streams together.
            has_batches: Whether `classify` takes more than one image. A graph of one image is faster.
        """
        properties: dict[str, object] = {
            "INFERENCE_PRECISION_HINT": "f32",
            "NUM_STREAMS": str(streams),
            "INFERENCE_NUM_THREADS": threads,
            # Several processes would pin their threads to the same CPUs.
            "ENABLE_CPU_PINNING": read_workers() == 1,
        }
        core = openvino.Core()
        graph = core.read_model(model.onnx_path)
        # The feature map that explains a class, which a peer has no use for.
        for result in graph.get_results()[1:]:
            graph.remove_result(result)
        if not has_batches:
            graph.reshape([1, model.size_px, model.size_px, 3])
        compiled = core.compile_model(graph, "CPU", properties)
        self._requests: LifoQueue[Any] = LifoQueue()
        for _ in range(streams):
            request = compiled.create_infer_request()
            # The first run is slow, and no request's fault.
            request.infer({0: np.zeros((1, model.size_px, model.size_px, 3), np.uint8)})
            self._requests.put(request)

    def classify(self, batch_nhwc: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the probabilities of a batch, shape (n, classes)."""
        request = self._requests.get()
        try:
            probabilities: NDArray[np.float32] = request.infer({0: batch_nhwc}, share_inputs=True)[0]
        finally:
            self._requests.put(request)
        return probabilities
