"""The one place that chooses concrete parts: settings in, a wired and warm classifier out."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bento_service.classifier import Classifier, Limits, Observer, WarmModel
from bento_service.domain import Receipt, ServiceState, ServiceStatus
from bento_service.engines.factory import choose_engine, create_engine
from bento_service.hardware import Division, count_cpus, divide
from bento_service.images.intake import IntakeLimits
from bento_service.images.jpeg import OPT_IN_OVERSAMPLING
from bento_service.images.reader import silence_pillow
from bento_service.journal.base import Journal
from bento_service.journal.factory import open_journal
from bento_service.metrics import Metrics
from bento_service.models.catalogue import Catalogue
from bento_service.parity_gate import measure_over
from bento_service.scheduling.admission import WaitPredictor
from bento_service.scheduling.policy import choose_ceiling
from bento_service.scheduling.scheduler import Scheduler
from bento_service.scheduling.warmup import time_batch_sizes
from bento_service.settings import JOURNAL_CLOSE_S, LANES_STOP_S, Settings

logger = logging.getLogger(__name__)

_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_PHOTOGRAPHS = Path(__file__).parents[1] / "dashboard" / "samples"
_BATCH_SHARE_OF_TARGET = 0.25
"""One batch may take a quarter of the latency target, so that waiting for two of them still meets it."""


@dataclass(frozen=True, slots=True)
class _WarmModels:
    """Loaded models, how the machine is divided among them, and the measured time between answers at full load."""

    models: tuple[WarmModel, ...]
    division: Division
    interval_ms: float

    def close(self) -> None:
        """Release the engines."""
        for model in self.models:
            model.engine.close()


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What a process left undone as it closed: images admitted and not answered, and receipts not written."""

    unanswered: int
    unwritten: int


class _JournalObserver:
    """Hands each receipt to the journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def observe_receipt(self, receipt: Receipt) -> None:
        self._journal.record(receipt)

    def observe_shed(self, reason: str) -> None:
        """Nothing: the refusal's receipt says it."""


class Lightbox:
    """Everything that a serving process has open."""

    def __init__(
        self,
        *,
        settings: Settings,
        classifier: Classifier,
        journal: Journal,
        parts: "_Parts",
        started_s: float,
    ) -> None:
        self.settings = settings
        self.classifier = classifier
        self.journal = journal
        self._parts = parts
        self._started_s = started_s

    def status(self) -> ServiceStatus:
        """Describe how this process is doing."""
        engine = self._parts.warm.models[0].engine
        counts = self.journal.counts()
        return ServiceStatus(
            state=ServiceState.DRAINING if self.classifier.is_draining else ServiceState.READY,
            device=engine.device,
            engine=engine.name,
            workers=self.settings.workers,
            lanes=self._parts.warm.division.lanes,
            decode_threads=self._parts.warm.division.decode_threads,
            queue_depth=self.classifier.in_flight,
            batch_ceiling=self.classifier.batch_ceilings(),
            predicted_wait_ms=self.classifier.predicted_wait_ms,
            target_p99_ms=self.settings.target_p99_ms,
            uptime_s=time.monotonic() - self._started_s,
            journal={"waiting": counts.waiting, "written": counts.written, "dropped": counts.dropped},
        )

    async def close(self, *, drain_s: float) -> Leftovers:
        """Finish what is admitted within `drain_s` seconds, flush the journal, release the models."""
        unanswered = await self.classifier.drain(timeout_s=drain_s)
        await self._parts.close(timeout_s=LANES_STOP_S)
        unwritten = await asyncio.to_thread(self.journal.close, JOURNAL_CLOSE_S)
        return Leftovers(unanswered, unwritten)


@dataclass(frozen=True, slots=True)
class _Parts:
    """The threads and models under a classifier."""

    warm: _WarmModels
    scheduler: Scheduler
    decode_pool: ThreadPoolExecutor

    async def close(self, *, timeout_s: float) -> None:
        await asyncio.to_thread(self.scheduler.close, timeout_s=timeout_s)
        self.decode_pool.shutdown(wait=False, cancel_futures=True)
        self.warm.close()


def open_catalogue() -> Catalogue:
    """Return the models of BentoML's store; what it prepares gets its parity measured over the sample photographs.

    A serving container has no photographs, and prepares no models.
    """
    return Catalogue(measure_parity=measure_over(_PHOTOGRAPHS))


async def open_lightbox(settings: Settings, metrics: Metrics) -> Lightbox:
    """Load and warm every model, open the journal, start the lanes; on the event loop that will serve.

    Raises:
        ModelLoadError: A model of the settings cannot be had.
        JournalUrlError: The journal's URL is none that Lightbox can use.
    """
    started_s = time.monotonic()
    async with AsyncExitStack() as opened:
        warm = await asyncio.to_thread(_load_models, settings, settings.models)
        opened.callback(warm.close)
        # After the models, which fail more often: a journal that is open has a thread and connections.
        journal = await asyncio.to_thread(
            open_journal,
            settings,
            on_dropped=metrics.journal_dropped.inc,
            on_written=metrics.journal_written.inc,
        )
        opened.push_async_callback(asyncio.to_thread, journal.close, JOURNAL_CLOSE_S)
        classifier, parts = _wire(settings, warm, observers=(metrics, _JournalObserver(journal)), metrics=metrics)
        opened.pop_all()
    return Lightbox(settings=settings, classifier=classifier, journal=journal, parts=parts, started_s=started_s)


@asynccontextmanager
async def open_local(settings: Settings, *, model: str | None = None) -> AsyncIterator[Classifier]:
    """Open a classifier in this process, for one command: no journal, no metrics, and only the model that is asked for.

    Raises:
        ModelLoadError: The model cannot be had.
    """
    names = (model or settings.default_model_name,)
    warm = await asyncio.to_thread(_load_models, settings, names)
    classifier, parts = _wire(settings, warm, observers=(), metrics=None)
    try:
        yield classifier
    finally:
        await parts.close(timeout_s=LANES_STOP_S)


def _load_models(settings: Settings, names: Sequence[str]) -> _WarmModels:
    silence_pillow()
    kind, device = choose_engine(settings.engine, settings.device)
    division = divide(
        count_cpus(),
        workers=settings.workers,
        device_kind=device,
        lanes=settings.lanes,
        decode_threads=settings.decode_threads,
    )
    catalogue = open_catalogue()
    models: list[WarmModel] = []
    interval_ms = 0.0
    with ExitStack() as opened:
        for name in names:
            begun_s = time.perf_counter()
            stored = catalogue.load_to_serve(name, kind, allow_inexact=settings.allow_inexact)
            engine = create_engine(
                kind, device, stored, lanes=division.lanes, threads=division.compute_threads, workers=settings.workers
            )
            opened.callback(engine.close)
            duration_ms = time_batch_sizes(
                engine.infer, stored.card.recipe, sizes=_BATCH_SIZES, clock=time.perf_counter
            )
            ceiling = choose_ceiling(duration_ms, budget_ms=settings.target_p99_ms * _BATCH_SHARE_OF_TARGET)
            models.append(WarmModel(stored.card, engine, ceiling))
            interval_ms = max(interval_ms, duration_ms[ceiling] / ceiling / division.lanes)
            logger.info(
                "%s is warm on %s after %.1f s: %.1f ms an image, batch ceiling %d",
                name,
                engine.name,
                time.perf_counter() - begun_s,
                duration_ms[ceiling] / ceiling,
                ceiling,
            )
        opened.pop_all()
    return _WarmModels(tuple(models), division, interval_ms)


def _wire(
    settings: Settings, warm: _WarmModels, *, observers: Sequence[Observer], metrics: Metrics | None
) -> tuple[Classifier, _Parts]:
    decode_pool = ThreadPoolExecutor(warm.division.decode_threads, thread_name_prefix="lightbox-decode")
    scheduler = Scheduler(
        {model.card.name: model.engine.infer for model in warm.models},
        ceilings={model.card.name: model.ceiling for model in warm.models},
        lanes=warm.division.lanes,
        clock=time.perf_counter,
        loop=asyncio.get_running_loop(),
    )
    predictor = WaitPredictor(
        initial_interval_ms=warm.interval_ms,
        capacity=warm.division.lanes * max(model.ceiling for model in warm.models),
        clock=time.perf_counter,
        on_change=metrics.queue_depth.set if metrics else lambda in_flight: None,
    )
    names = [model.card.name for model in warm.models]
    classifier = Classifier(
        warm.models,
        default_model=settings.default_model_name if settings.default_model_name in names else names[0],
        limits=Limits(
            target_ms=settings.target_p99_ms,
            max_queue_items=settings.max_queue_items,
            max_receiving_requests=settings.max_receiving_requests,
            intake=IntakeLimits(settings.max_image_bytes, settings.max_pixels),
        ),
        decode_pool=decode_pool,
        scheduler=scheduler,
        predictor=predictor,
        observers=observers,
        clock=time.perf_counter,
        min_oversampling=OPT_IN_OVERSAMPLING if settings.scaled_decoding else None,
    )
    return classifier, _Parts(warm, scheduler, decode_pool)
