"""The one place that chooses concrete parts: settings in, a wired and warm classifier out."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bento_service.cache.answer_cache import AnswerCache
from bento_service.cache.factory import open_cache
from bento_service.classifier import Classifier, Limits, Observer
from bento_service.computation import Workshop
from bento_service.domain import EngineMode, Receipt
from bento_service.images.intake import IntakeLimits
from bento_service.images.jpeg import OPT_IN_OVERSAMPLING
from bento_service.images.reader import silence_pillow
from bento_service.journal.base import Journal
from bento_service.journal.factory import open_journal
from bento_service.metrics import Metrics
from bento_service.models.catalogue import Catalogue
from bento_service.models.store import BentoModelStore
from bento_service.parity_gate import measure_over
from bento_service.scheduling.admission import WaitPredictor
from bento_service.scheduling.decode_pool import DecodePool
from bento_service.scheduling.model_state import RunnableModel
from bento_service.scheduling.scheduler import Scheduler
from bento_service.scheduling.work_cost import WorkCost
from bento_service.settings import JOURNAL_CLOSE_S, LANES_STOP_S, Settings
from bento_service.status import ServiceState, ServiceStatus
from bento_service.warm_models import WarmModels, load_models

logger = logging.getLogger(__name__)

_PHOTOGRAPHS = Path(__file__).parents[1] / "dashboard" / "samples"


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
        parts: "Parts",
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
            workers=self.settings.worker_count,
            lanes=self._parts.warm.division.lanes,
            decode_threads=self._parts.warm.division.decode_threads,
            queue_depth=self.classifier.in_flight,
            batch_ceiling=self._parts.scheduler.ceilings(),
            predicted_wait_ms=self.classifier.predicted_wait_ms,
            target_p99_ms=self.settings.target_p99_ms,
            uptime_s=time.monotonic() - self._started_s,
            journal={"waiting": counts.waiting, "written": counts.written, "dropped": counts.dropped},
            cost=self._parts.scheduler.costs(),
            recent_dispatches=self._parts.scheduler.recent_dispatches(),
            cache=self._parts.cache.describe() if self._parts.cache else {},
        )

    async def close(self, *, drain_s: float) -> Leftovers:
        """Finish what is admitted within `drain_s` seconds, flush the journal, release the models."""
        try:
            unanswered = await self.classifier.drain(timeout_s=drain_s)
            await self._parts.close(timeout_s=LANES_STOP_S)
        # Whatever a library raises as it goes, the process ends with it; the receipts do not.
        except Exception:
            logger.exception("A part failed to close; the journal is flushed all the same.")
            unanswered = self.classifier.in_flight
        finally:
            unwritten = await asyncio.to_thread(self.journal.close, JOURNAL_CLOSE_S)
        return Leftovers(unanswered, unwritten)


@dataclass(frozen=True, slots=True)
class Parts:
    """The threads, models and connections under a classifier."""

    warm: WarmModels
    scheduler: Scheduler
    decode_pool: DecodePool
    cache: AnswerCache | None

    async def close(self, *, timeout_s: float) -> None:
        """Close each of them, lanes first, whether or not the one before it could be."""
        async with AsyncExitStack() as closing:
            closing.callback(self._release_models)
            if self.cache is not None:
                closing.push_async_callback(self.cache.close)
            closing.callback(self.decode_pool.close, wait=False)
            closing.push_async_callback(asyncio.to_thread, self.scheduler.close, timeout_s=timeout_s)

    def _release_models(self) -> None:
        if self.scheduler.has_ended:
            self.warm.close()
        else:
            # An engine waits for what runs in it, which would keep the journal from its last receipts.
            logger.warning("A lane is still at work; the models go with the process.")


def open_catalogue(also: Path | None) -> Catalogue:
    """Return the models of BentoML's store, and of the store `also` (LIGHTBOX_MODEL_STORE).

    What it prepares gets its parity measured over the sample photographs. A serving container has no photographs, and
    prepares no models.
    """
    return Catalogue(BentoModelStore(also=also), measure_parity=measure_over(_PHOTOGRAPHS))


async def open_lightbox(settings: Settings, metrics: Metrics) -> Lightbox:
    """Load and warm every model, open the journal, start the lanes; on the event loop that will serve.

    Raises:
        ModelLoadError: A model of the settings cannot be had.
        JournalUrlError: The journal's URL is none that Lightbox can use.
        CacheUrlError: The cache's URL is none that Lightbox can use.
    """
    started_s = time.monotonic()
    async with AsyncExitStack() as opened:
        warm = await asyncio.to_thread(_load, settings, settings.models)
        opened.callback(warm.close)
        # After the models, which fail more often: a journal that is open has a thread and connections.
        journal = await asyncio.to_thread(
            open_journal,
            settings,
            on_dropped=metrics.journal_dropped.inc,
            on_written=metrics.journal_written.inc,
            on_waiting=metrics.journal_waiting.set,
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
    warm = await asyncio.to_thread(_load, settings, names)
    classifier, parts = _wire(settings, warm, observers=(), metrics=None)
    try:
        yield classifier
    finally:
        await parts.close(timeout_s=LANES_STOP_S)


def _load(settings: Settings, names: Sequence[str]) -> WarmModels:
    silence_pillow()
    return load_models(open_catalogue(settings.model_store), names, settings)


def _wire(
    settings: Settings, warm: WarmModels, *, observers: Sequence[Observer], metrics: Metrics | None
) -> tuple[Classifier, Parts]:
    division = warm.division
    cache = None if metrics is None else open_cache(settings, observer=metrics)
    scheduler = Scheduler(
        {model.card.name: RunnableModel(model.engine.infer, warm.costs[model.card.name]) for model in warm.models},
        lanes=division.lanes,
        target_ms=settings.target_p99_ms,
        clock=time.perf_counter,
        loop=asyncio.get_running_loop(),
        on_lane_lost=metrics.lanes_lost.inc if metrics else lambda: None,
        on_out_of_memory=metrics.out_of_memory.inc if metrics else lambda: None,
    )
    is_cpu = warm.models[0].engine.device.kind == "cpu"
    work_cost = WorkCost(
        {
            name: warm.costs[name][EngineMode.THROUGHPUT].predict_ms(ceiling) / ceiling
            for name, ceiling in scheduler.ceilings().items()
        },
        decode_threads=division.decode_threads,
        lanes=division.lanes if is_cpu else 1,
        shares_cores=is_cpu,
    )
    predictor = WaitPredictor(
        capacity=division.lanes * max(scheduler.knees().values()),
        round_size=division.lanes * max(scheduler.ceilings().values()),
        clock=time.perf_counter,
        on_change=metrics.queue_depth.set if metrics else lambda in_flight: None,
    )
    workshop = Workshop(
        DecodePool(division.decode_threads, patience_s=settings.target_p99_ms / 1000),
        scheduler,
        work_cost,
        IntakeLimits(settings.max_image_bytes, settings.max_pixels),
        OPT_IN_OVERSAMPLING if settings.scaled_decoding else None,
        time.perf_counter,
    )
    names = [model.card.name for model in warm.models]
    classifier = Classifier(
        warm.models,
        default_model=settings.default_model_name if settings.default_model_name in names else names[0],
        limits=Limits(
            target_ms=settings.target_p99_ms,
            max_queue_items=settings.max_queue_items,
            max_receiving_requests=settings.max_receiving_requests,
        ),
        workshop=workshop,
        predictor=predictor,
        observers=observers,
        clock=time.perf_counter,
        cache=cache,
    )
    return classifier, Parts(warm, scheduler, workshop.decode_pool, cache)
