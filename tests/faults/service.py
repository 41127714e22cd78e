"""The service from its socket to its lanes, around an engine that fails, in a thread and an event loop of its own."""

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
import uvloop
from prometheus_client import CollectorRegistry

from bento_service.cache.result_cache import ResultCache, open_cache
from bento_service.domain.models import InputRecipe, ModelCard
from bento_service.domain.registry import Comparison
from bento_service.domain.requests import Priority, Receipt
from bento_service.domain.runner import EngineMode
from bento_service.domain.service import ServiceState
from bento_service.explain.explainer import Explainer
from bento_service.explain.heads import ClassHeads
from bento_service.http.app import create_app
from bento_service.http.connection.protocol import BoundedHttpProtocol
from bento_service.http.gateway import Gateway
from bento_service.http.in_flight import InFlightRequests
from bento_service.http.requests.body import ByteBudget
from bento_service.http.state import AppState
from bento_service.images.preprocessing import ImageLimits
from bento_service.machine import Division
from bento_service.models.store import BentoModelStore
from bento_service.observability.metrics import Metrics
from bento_service.pipeline.classifier import Classifier
from bento_service.pipeline.decode_pool import DecodePool
from bento_service.pipeline.live_models import WarmModel
from bento_service.pipeline.wiring import Limits, RunningClassifier, start_classifier
from bento_service.scheduling.cost_model import CostModel
from bento_service.scheduling.scheduler import Scheduler
from bento_service.settings import Settings
from tests.fakes.bento import FakeBento
from tests.fakes.engine import PATIENCE_S, make_image
from tests.fakes.faulty_engine import IMAGES, FaultyEngine
from tests.fakes.journal import FakeJournal
from tests.fakes.scheduling import run_image
from tests.http.wiring import status_of

LANES = 2
DECODE_THREADS = 2
LARGEST_BATCH = 8
MODEL = "numbers"
_VERSION = "v-1"
_KEY = f"{MODEL}:{_VERSION}"
RECIPE = InputRecipe(8, 8, 1.0, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
DEFAULT_LIMITS = ImageLimits(max_bytes=100_000, max_pixels=10_000)
_LATENCY_SHARE = 0.8
_LAST_LEVEL = 240
"""Grey of the last image, which no load has."""


class ReceiptBook:
    """Keeps what a classifier tells of. Thread-safe."""

    def __init__(self) -> None:
        self._receipts: list[Receipt] = []
        self._has_more = threading.Condition()

    @property
    def receipts(self) -> tuple[Receipt, ...]:
        with self._has_more:
            return tuple(self._receipts)

    def observe_receipt(self, receipt: Receipt) -> None:
        with self._has_more:
            self._receipts.append(receipt)
            self._has_more.notify_all()

    def observe_rejection(self, reason: str) -> None:
        """The receipt says it."""

    def observe_comparison(self, comparison: Comparison) -> None:
        """No model has a shadow."""

    def observe_missed_comparison(self, model: str, reason: str) -> None:
        """No model has a shadow."""

    def outcomes(self) -> Counter[str]:
        return Counter(receipt.outcome for receipt in self.receipts)

    def wait_for(self, count: int, *, outcome: str | None = None) -> None:
        """Return as soon as there are so many receipts, with this outcome if one is named."""
        with self._has_more:
            if not self._has_more.wait_for(lambda: self._count(outcome) >= count, PATIENCE_S):
                raise TimeoutError(f"there are {self._count(outcome)} of {count} receipts after {PATIENCE_S:g} s")

    def _count(self, outcome: str | None) -> int:
        return sum(outcome in (None, receipt.outcome) for receipt in self._receipts)


@dataclass(frozen=True)
class FaultedService:
    """A running service, and the parts in it that a test looks at. Its methods are called from other threads."""

    engine: FaultyEngine
    port: int
    loop: asyncio.AbstractEventLoop
    classifier: Classifier
    scheduler: Scheduler
    decode_pool: DecodePool
    book: ReceiptBook
    registry: CollectorRegistry

    def count(self, series: str) -> float:
        """Return the value of a Prometheus series that has no labels."""
        value = self.registry.get_sample_value(series)
        assert value is not None, series
        return value

    @property
    def ceiling(self) -> int:
        """Largest batch at this moment."""
        return self.scheduler.queue.ceilings()[_KEY]

    @property
    def speed(self) -> float:
        """The cost model's speed of batches, as a share of warm-up's."""
        [speed] = [cost.speed for cost in self.scheduler.queue.costs() if cost.mode is EngineMode.THROUGHPUT]
        return speed

    def drain(self) -> int:
        """Take no further image, wait for those that are admitted, and return how many are left."""
        draining = asyncio.run_coroutine_threadsafe(self.classifier.drain(timeout_s=PATIENCE_S), self.loop)
        return draining.result(2 * PATIENCE_S)

    def settle(self) -> None:
        """Return once decode threads and lanes have been done with what they had; no client may be at work."""
        with self.decoding_held():
            """Each decode thread is done with what it had."""
        # Bulk goes after everything else, so whatever waits has left the queue as it is run.
        flushing = asyncio.run_coroutine_threadsafe(
            run_image(self.scheduler, _KEY, make_image(_LAST_LEVEL, RECIPE.width_px), priority=Priority.BULK),
            self.loop,
        )
        flushing.result(PATIENCE_S)

    @contextmanager
    def decoding_held(self) -> Iterator[None]:
        """Keep the decode threads busy, once they are done with what they had."""
        met, is_over = threading.Barrier(DECODE_THREADS + 1), threading.Event()

        def hold() -> None:
            met.wait(PATIENCE_S)
            is_over.wait(PATIENCE_S)

        for _ in range(DECODE_THREADS):
            self.decode_pool.submit(hold)
        met.wait(PATIENCE_S)
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


@contextmanager
def serving(
    engine: FaultyEngine,
    *,
    target_ms: float = 5000.0,
    has_cache: bool = False,
    limits: ImageLimits = DEFAULT_LIMITS,
) -> Iterator[FaultedService]:
    """Serve images by their numbers; without a cache each image is computed."""
    settings = Settings(target_p99_ms=target_ms, cache_bytes=1_000_000 if has_cache else 0, models=(MODEL,))
    started: Future[tuple[FaultedService, uvicorn.Server]] = Future()
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:

        def run() -> None:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_serve(engine, settings, limits, listener, started))

        thread = threading.Thread(target=run, name="faulted-service")
        thread.start()
        service, server = started.result(PATIENCE_S)
        try:
            yield service
        finally:
            server.should_exit = True
            thread.join(2 * PATIENCE_S)
            assert not thread.is_alive(), "the service does not stop"


async def _serve(
    engine: FaultyEngine,
    settings: Settings,
    limits: ImageLimits,
    listener: socket.socket,
    started: "Future[tuple[FaultedService, uvicorn.Server]]",
) -> None:
    registry, book = CollectorRegistry(), ReceiptBook()
    metrics = Metrics(registry)
    cache = open_cache(settings, observer=metrics)
    running = _start(engine, settings, limits, metrics=metrics, book=book, cache=cache)
    explainer = Explainer(running.classifier, ClassHeads(BentoModelStore()))
    state = AppState(running.classifier, FakeJournal(), settings, ByteBudget(settings.max_inflight_bytes), explainer)
    ready = status_of(ServiceState.READY)
    app = InFlightRequests(create_app(lambda: state, provide_status=lambda: ready))
    gateway = Gateway(FakeBento(), app, (), status=lambda: ready, on_request=metrics.observe_http)
    server = uvicorn.Server(uvicorn.Config(gateway, http=BoundedHttpProtocol, log_config=None, lifespan="off"))
    service = FaultedService(
        engine,
        listener.getsockname()[1],
        asyncio.get_running_loop(),
        running.classifier,
        running.scheduler,
        running.decode_pool,
        book,
        registry,
    )
    started.set_result((service, server))
    try:
        await server.serve([listener])
    finally:
        await asyncio.to_thread(running.scheduler.close, timeout_s=PATIENCE_S)
        running.decode_pool.close(wait=False)
        if cache is not None:
            await cache.close()


def _start(
    engine: FaultyEngine,
    settings: Settings,
    limits: ImageLimits,
    *,
    metrics: Metrics,
    book: ReceiptBook,
    cache: ResultCache | None,
) -> RunningClassifier:
    labels = tuple(f"image {number}" for number in range(IMAGES))
    # What a warm-up on an idle machine would measure.
    costs = {
        EngineMode.THROUGHPUT: CostModel({size: engine.duration_ms(size) for size in (1, 2, 4, LARGEST_BATCH)}),
        EngineMode.LATENCY: CostModel({1: _LATENCY_SHARE * engine.duration_ms(1)}),
    }
    return start_classifier(
        [WarmModel(ModelCard(MODEL, _VERSION, labels, RECIPE, "bundled", "MIT"), engine, costs)],
        division=Division(LANES, DECODE_THREADS, compute_threads=1),
        limits=Limits(settings.target_p99_ms, settings.max_queue_items, settings.max_receiving_requests, image=limits),
        default_model=MODEL,
        observers=(metrics, book),
        cache=cache,
        on_lane_lost=metrics.lanes_lost.inc,
        on_out_of_memory=metrics.out_of_memory.inc,
        on_in_flight=metrics.queue_depth.set,
    )
