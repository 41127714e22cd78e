"""A real classifier around fake models, on a clock that the test moves."""

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bento_service.cache.result_cache import ResultCache
from bento_service.domain.models import InputRecipe, ModelCard, Parity, ScoreKind
from bento_service.domain.registry import Comparison
from bento_service.domain.requests import Answer, Priority, Receipt
from bento_service.domain.runner import Device, EngineMode
from bento_service.images.preprocessing import ImageLimits
from bento_service.machine import Division
from bento_service.pipeline.live_models import LoadVersion, WarmModel, load_nothing
from bento_service.pipeline.request import ImageRequest
from bento_service.pipeline.wiring import Limits, RunningClassifier, start_classifier
from bento_service.scheduling.cost_model import CostModel
from tests.fakes.clock import FakeClock, FakeTimeLoop
from tests.fakes.engine import PATIENCE_S, FakeEngine, FakeInfer

Forward = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

RECIPE = InputRecipe(8, 8, 1.0, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
INTERVAL_MS = 5.0
"""Work of one image, and the time between answers that is predicted at first."""
TARGET_MS = 100.0
OVERLOAD = 15
"""Images ahead whose predicted wait exceeds the target."""


def encode_image(value: int = 7, *, file_format: str = "PNG", width_px: int = 12, height_px: int = 10) -> bytes:
    """Encode an image of one colour; as PNG, `FakeInfer` identifies it."""
    encoded = io.BytesIO()
    Image.new("RGB", (width_px, height_px), (value, value, value)).save(encoded, file_format)
    return encoded.getvalue()


def answer_always(scores: list[float]) -> Forward:
    """Make a model with the same scores for every image."""
    return lambda batch_nhwc: np.tile(np.array(scores, dtype=np.float32), (len(batch_nhwc), 1))


@dataclass
class RecordingObserver:
    """Keeps receipts and the reasons of rejections."""

    receipts: list[Receipt] = field(default_factory=list)
    rejections: list[str] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    def observe_receipt(self, receipt: Receipt) -> None:
        self.receipts.append(receipt)

    def observe_rejection(self, reason: str) -> None:
        self.rejections.append(reason)

    def observe_comparison(self, comparison: Comparison) -> None:
        self.comparisons.append(comparison)

    def observe_missed_comparison(self, model: str, reason: str) -> None:
        self.missed.append(reason)


class GpuEngine(FakeEngine):
    """An engine beside which decoding costs nothing, so that `INTERVAL_MS` is all the work of an image."""

    device = Device(kind="cuda", name="fake", memory_bytes=0)


class ObservedClassifier:
    """A running classifier and its observer."""

    def __init__(self, running: RunningClassifier, observer: RecordingObserver, clock: Callable[[], float]) -> None:
        self.classifier = running.classifier
        self.models = running.models
        self.observer = observer
        self.queue = running.scheduler.queue
        self._pool = running.decode_pool
        self._clock = clock

    def check_left_nothing(self) -> None:
        """Assert that no image has a place, waits or is expected."""
        assert (self.classifier.in_flight, self.classifier.predicted_wait_ms) == (0, 0)
        assert (len(self.queue), self.queue.expected) == (0, 0)

    @property
    def receipt(self) -> Receipt:
        """The only receipt that there is."""
        [receipt] = self.observer.receipts
        return receipt

    def open(self, **changes: Any) -> ImageRequest:
        options: dict[str, Any] = {"request_id": "r-1", "model": None, "top_k": 1, "deadline_ms": None}
        return self.classifier.open(**(options | changes), started_s=self._clock())

    async def classify(self, encoded: bytes, *, top_k: int = 1, deadline_ms: float | None = None) -> Answer:
        with self.open(top_k=top_k, deadline_ms=deadline_ms) as pending:
            return await pending.classify(encoded)

    async def start(self, encoded: bytes, *, deadline_ms: float | None = None) -> "asyncio.Task[Answer]":
        """Return once the image has been handed to the decode threads."""
        task = asyncio.create_task(self.classify(encoded, deadline_ms=deadline_ms))
        await asyncio.sleep(0)
        return task

    async def start_and_queue(self, encoded: bytes, *, deadline_ms: float | None = None) -> "asyncio.Task[Answer]":
        """Return once the image is queued; every lane must be busy."""
        waiting = len(self.queue)
        task = await self.start(encoded, deadline_ms=deadline_ms)
        while len(self.queue) == waiting:
            await self.flush_decoding()
        return task

    async def start_many(self, count: int, encoded: bytes | None = None) -> "list[asyncio.Task[Answer]]":
        """Start so many images, all of them `encoded` or each one different."""
        return [await self.start(encoded or encode_image(value)) for value in range(count)]

    async def occupy_lane(self, infer: FakeInfer, encoded: bytes = b"") -> "asyncio.Task[Answer]":
        """Return once the lane is held at the closed gate of a model."""
        infer.gate.clear()
        infer.forget_lanes()
        task = await self.start(encoded or encode_image(1))
        await asyncio.to_thread(infer.wait_for_lane)
        return task

    async def flush_decoding(self) -> None:
        """Return once the decode thread has finished its earlier work."""
        done = asyncio.Event()
        loop = asyncio.get_running_loop()

        def tell() -> None:
            loop.call_soon_threadsafe(done.set)

        # Bulk, so that it runs after everything that waits.
        self._pool.submit(tell, priority=Priority.BULK)
        await done.wait()

    def wait_for_decoding(self) -> None:
        """Block the event loop until the decode thread has finished what it was given so far."""
        done = threading.Event()
        self._pool.submit(done.set, priority=Priority.BULK)
        _wait(done)

    def block_decoding(self) -> threading.Event:
        """Keep the decode thread busy until the event is set."""
        done = threading.Event()
        self._pool.submit(lambda: _wait(done))
        return done

    def close_decoding(self) -> None:
        """Drop the waiting work of the decode threads, and refuse more."""
        self._pool.close(wait=False)

    def take_places(self, count: int) -> list[ImageRequest]:
        """Open `count` requests whose clients send nothing."""
        return [self.open(request_id=f"uploading-{number}").__enter__() for number in range(count)]


@asynccontextmanager
async def running(
    models: Mapping[str, Forward],
    *,
    classes: int = 3,
    clock: Callable[[], float] | None = None,
    max_queued: int = 50,
    max_receiving: int = 50,
    min_oversampling: int | None = None,
    parity: Parity | None = None,
    cache: ResultCache | None = None,
    recipe: InputRecipe = RECIPE,
    score_kind: ScoreKind = "softmax",
    load_version: LoadVersion = load_nothing,
    default_model: str | None = None,
) -> AsyncIterator[ObservedClassifier]:
    """Run a classifier with one lane, one decode thread and batches of up to four; the first model is the default."""
    clock = clock or fake_clock()
    labels = tuple(f"class {class_id}" for class_id in range(classes))
    observer = RecordingObserver()
    running = start_classifier(
        [
            make_warm(ModelCard(name, f"v-{name}", labels, recipe, "bundled", "MIT", parity, score_kind), infer)
            for name, infer in models.items()
        ],
        division=Division(lanes=1, decode_threads=1, compute_threads=1),
        limits=Limits(TARGET_MS, max_queued, max_receiving, ImageLimits(max_bytes=100_000, max_pixels=10_000)),
        default_model=default_model or next(iter(models)),
        load_version=load_version,
        observers=[observer],
        cache=cache,
        min_oversampling=min_oversampling,
        clock=clock,
    )
    try:
        yield ObservedClassifier(running, observer, clock)
    finally:
        for infer in models.values():
            if isinstance(infer, FakeInfer):
                infer.gate.set()
        await asyncio.to_thread(running.scheduler.close, timeout_s=PATIENCE_S)
        running.decode_pool.close()


def make_warm(card: ModelCard, infer: Forward) -> WarmModel:
    """A version that gains by batches, so that four images run together."""
    costs = {EngineMode.THROUGHPUT: CostModel({1: 2 * INTERVAL_MS, 4: 4 * INTERVAL_MS})}
    return WarmModel(card, GpuEngine(infer), costs)


def _wait(done: threading.Event) -> None:
    done.wait(PATIENCE_S)


def fake_clock() -> FakeClock:
    """Return the clock that the running event loop goes by."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, FakeTimeLoop):
        raise TypeError(f"the event loop is {type(loop).__name__}; run the test on a FakeTimeLoop")
    return loop.clock
