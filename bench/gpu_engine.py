"""The engine on a GPU beside a bare loop: the same model and arithmetic, recorded and replayed without a copy."""

import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from bench.gpu_peers.engine import MAX_BATCH
from bento_service.domain.models import StoredModel
from bento_service.engines.torch.cuda_lanes import list_buckets
from bento_service.engines.torch.cuda_model import Precision, ready_model
from bento_service.engines.torch.cuda_streams import CudaRuntime, Step
from bento_service.engines.torch.engine import TorchEngine
from bento_service.engines.torch.program import load_program

LANES = 2
_LAUNCHES_AHEAD = 16
"""Replays that are queued before the bare loop waits, so that the GPU never does."""


@dataclass(frozen=True, slots=True)
class EngineFigure:
    """Images a second at one batch size: the engine, fed by its lanes, and the recorded model without any copy."""

    batch_size: int
    engine: float
    bare: float

    @property
    def of_bare(self) -> float:
        """The engine's share of the bare loop."""
        return self.engine / self.bare


def measure_engine(model: StoredModel, rounds: int, duration_s: float) -> tuple[Precision, list[EngineFigure]]:
    """Take turns between engine and bare loop; return the arithmetic of both, and the medians by batch size."""
    engine = TorchEngine(
        model.require_program(),
        model.card,
        device="cuda",
        threads=1,
        lanes=LANES,
        max_batch=MAX_BATCH,
        precision="auto",
    )
    served: dict[int, list[float]] = {size: [] for size in engine.bucket_sizes}
    bare: dict[int, list[float]] = {size: [] for size in list_buckets(MAX_BATCH)}
    for _ in range(rounds):
        for size, rates in served.items():
            rates.append(_measure_engine(engine, _make_images(model, size), duration_s))
        for size, rate in _measure_bare(model, engine.precision, duration_s).items():
            bare[size].append(rate)
    engine.close()
    figures = [
        EngineFigure(size, statistics.median(rates), statistics.median(bare[size])) for size, rates in served.items()
    ]
    return engine.precision, figures


def _measure_engine(engine: TorchEngine, batch_nhwc: NDArray[np.uint8], duration_s: float) -> float:
    """Return images a second of an engine whose every lane is kept busy from a thread, for so long."""

    def work(_: int) -> int:
        images = 0
        while time.perf_counter() < end_s:
            images += len(engine.infer(batch_nhwc))
        return images

    begun_s = time.perf_counter()
    end_s = begun_s + duration_s
    with ThreadPoolExecutor(LANES) as pool:
        images = sum(pool.map(work, range(LANES)))
    return images / (time.perf_counter() - begun_s)


def _measure_bare(model: StoredModel, precision: Precision, duration_s: float) -> Mapping[int, float]:
    """Return images a second by batch size of the same model, recorded and replayed over images that never move.

    Of one stream: the most that the GPU gives to one batch after the other.
    """
    ready = ready_model(
        load_program(model.require_program(), model.card.name, "cuda"),
        model.card.recipe,
        candidates=(precision,),
        compiler=None,
        device="cuda",
    )
    stream = CudaRuntime().open_stream()
    rates = {}
    for size in reversed(list_buckets(MAX_BATCH)):
        images = torch.from_numpy(_make_images(model, size)).to("cuda")
        with torch.inference_mode(), stream.active():
            replay = stream.capture(partial(ready.forward, images))
            rates[size] = size * _measure_rate(replay, stream.finish, duration_s)
    return rates


def _measure_rate(replay: Step, finish: Callable[[], None], duration_s: float) -> float:
    launches = 0
    begun_s = time.perf_counter()
    while (elapsed_s := time.perf_counter() - begun_s) < duration_s:
        for _ in range(_LAUNCHES_AHEAD):
            replay()
        finish()
        launches += _LAUNCHES_AHEAD
    return launches / elapsed_s


def _make_images(model: StoredModel, size: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (size, *model.card.recipe.shape_hwc), dtype=np.uint8)
