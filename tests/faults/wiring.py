"""A real classifier around an engine that fails."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from bento_service.cache.result_cache import ResultCache
from bento_service.domain.models import InputRecipe, ModelCard
from bento_service.domain.requests import Priority
from bento_service.domain.runner import EngineMode
from bento_service.images.preprocessing import ImageLimits
from bento_service.machine import Division
from bento_service.observability.metrics import Metrics
from bento_service.pipeline.classifier import Classifier, WarmModel
from bento_service.pipeline.decode_pool import DecodePool
from bento_service.pipeline.wiring import Limits, start_classifier
from bento_service.scheduling.cost_model import CostModel
from bento_service.scheduling.scheduler import Scheduler
from bento_service.settings import Settings
from tests.fakes.engine import PATIENCE_S, make_image
from tests.fakes.faulty_engine import IMAGES, FaultyEngine
from tests.fakes.scheduling import run_image
from tests.faults.receipts import ReceiptBook

LANES = 2
DECODE_THREADS = 2
LARGEST_BATCH = 8
MODEL = "numbers"
RECIPE = InputRecipe(8, 8, 1.0, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
DEFAULT_LIMITS = ImageLimits(max_bytes=100_000, max_pixels=10_000)
_SIZES = (1, 2, 4, LARGEST_BATCH)
_LATENCY_SHARE = 0.8
_LAST_LEVEL = 240
"""Grey of the last image, which no load has."""


@dataclass(frozen=True)
class FaultedService:
    """A running service, and the parts in it that a test looks at. Its methods are called from other threads."""

    engine: FaultyEngine
    port: int
    loop: asyncio.AbstractEventLoop
    classifier: Classifier
    scheduler: Scheduler
    book: ReceiptBook
    registry: CollectorRegistry
    decode_pool: DecodePool

    def count(self, series: str) -> float:
        """Return the value of a Prometheus series that has no labels."""
        value = self.registry.get_sample_value(series)
        assert value is not None, series
        return value

    @property
    def ceiling(self) -> int:
        """Largest batch at this moment."""
        return self.scheduler.queue.ceilings()[MODEL]

    @property
    def speed(self) -> float:
        """The cost model's speed of batches, as a share of warm-up's."""
        [cost] = [
            cost for cost in self.scheduler.queue.costs() if cost.model == MODEL and cost.mode is EngineMode.THROUGHPUT
        ]
        return cost.speed

    def drain(self) -> int:
        """Take no further image, wait for those that are admitted, and return how many are left."""
        draining = asyncio.run_coroutine_threadsafe(self.classifier.drain(timeout_s=PATIENCE_S), self.loop)
        return draining.result(2 * PATIENCE_S)

    def flush_decoding(self) -> None:
        """Return once each decode thread has been done with what it had."""
        met = threading.Barrier(DECODE_THREADS + 1)
        for _ in range(DECODE_THREADS):
            self.decode_pool.submit(lambda: _meet(met))
        _meet(met)

    def settle(self) -> None:
        """Return once decode threads and lanes have been done with what they had; no client may be at work."""
        self.flush_decoding()
        # Bulk goes after everything else, so whatever waits has left the queue as it is run.
        flushing = asyncio.run_coroutine_threadsafe(
            run_image(self.scheduler, MODEL, make_image(_LAST_LEVEL, RECIPE.width_px), priority=Priority.BULK),
            self.loop,
        )
        flushing.result(PATIENCE_S)

    @contextmanager
    def decoding_held(self) -> Iterator[None]:
        """Keep the decode threads busy; none may be at work as this begins."""
        met, is_over = threading.Barrier(DECODE_THREADS + 1), threading.Event()

        def hold() -> None:
            _meet(met)
            is_over.wait(PATIENCE_S)

        for _ in range(DECODE_THREADS):
            self.decode_pool.submit(hold)
        _meet(met)
        try:
            yield
        finally:
            is_over.set()

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Return once something is so; looked at after each turn of the service's event loop."""
        give_up_s = time.monotonic() + PATIENCE_S
        while not is_so():
            if time.monotonic() > give_up_s:
                raise TimeoutError(f"{self.scheduler.queue.expected} images expected, {len(self.scheduler.queue)} wait")
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self.loop).result(PATIENCE_S)


def wire(
    engine: FaultyEngine,
    settings: Settings,
    limits: ImageLimits,
    *,
    registry: CollectorRegistry,
    metrics: Metrics,
    cache: ResultCache | None,
    port: int,
) -> FaultedService:
    labels = tuple(f"image {number}" for number in range(IMAGES))
    card = ModelCard(MODEL, "v-1", labels, RECIPE, "bundled", "MIT")
    book = ReceiptBook()
    running = start_classifier(
        [WarmModel(card, engine)],
        {MODEL: _measure(engine)},
        division=Division(LANES, DECODE_THREADS, compute_threads=1),
        limits=Limits(settings.target_p99_ms, settings.max_queue_items, settings.max_receiving_requests, image=limits),
        default_model=MODEL,
        observers=(metrics, book),
        cache=cache,
        on_lane_lost=metrics.lanes_lost.inc,
        on_out_of_memory=metrics.out_of_memory.inc,
        on_in_flight=metrics.queue_depth.set,
    )
    return FaultedService(
        engine,
        port,
        asyncio.get_running_loop(),
        running.classifier,
        running.scheduler,
        book,
        registry,
        running.decode_pool,
    )


def _measure(engine: FaultyEngine) -> dict[EngineMode, CostModel]:
    """Make the cost models that a warm-up on an idle machine would."""
    return {
        EngineMode.THROUGHPUT: CostModel({size: engine.duration_ms(size) for size in _SIZES}),
        EngineMode.LATENCY: CostModel({1: _LATENCY_SHARE * engine.duration_ms(1)}),
    }


def _meet(barrier: threading.Barrier) -> None:
    barrier.wait(PATIENCE_S)
