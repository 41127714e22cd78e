"""The one place that chooses concrete parts: settings in, a wired and warm classifier out."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from bento_service.cache.result_cache import open_cache
from bento_service.domain.models import StoredModel
from bento_service.domain.requests import Receipt
from bento_service.domain.runner import EngineMode
from bento_service.engines.base import Engine
from bento_service.engines.choice import choose_engine, create_engine, warn_gpu_unused
from bento_service.images.jpeg import OPT_IN_OVERSAMPLING
from bento_service.images.pillow_reader import silence_pillow
from bento_service.images.prepare import ImageLimits
from bento_service.journal.base import Journal
from bento_service.journal.writer import open_journal
from bento_service.machine import count_cpus, divide
from bento_service.models.catalogue import Catalogue
from bento_service.models.store import BentoModelStore
from bento_service.observability.metrics import Metrics
from bento_service.pipeline.classifier import Classifier, Limits, Observer, WarmModel
from bento_service.pipeline.decode_pool import DecodePool
from bento_service.pipeline.pipeline import Pipeline, PipelineParts, WarmModels
from bento_service.pipeline.preprocessing import Preprocessor
from bento_service.pipeline.wait_predictor import WaitPredictor
from bento_service.pipeline.work_estimate import WorkEstimator
from bento_service.preparation.parity import measure_over
from bento_service.preparation.prepare import Preparer
from bento_service.scheduling.cost_model import CostModel
from bento_service.scheduling.model_queue import RunnableModel
from bento_service.scheduling.scheduler import Scheduler
from bento_service.scheduling.warmup import measure_costs
from bento_service.settings import BENTO_PATH, JOURNAL_CLOSE_S, LANES_STOP_S, Settings

logger = logging.getLogger(__name__)

_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_WARM_UP_S = 1.5
"""Time for the runs that count of all models together; a model that is alone takes a second of it."""
_LEAST_WARM_UP_S = 0.3
_PHOTOGRAPHS = Path(__file__).parents[1] / "dashboard" / "samples"


class _JournalObserver:
    """Hands each receipt to the journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def observe_receipt(self, receipt: Receipt) -> None:
        self._journal.record(receipt)

    def observe_shed(self, reason: str) -> None:
        """Nothing: the refusal's receipt says it."""


def open_catalogue(also: Path | None) -> Catalogue:
    """Return the models of BentoML's store, and of the store `also` (LIGHTBOX_MODEL_STORE)."""
    return Catalogue(BentoModelStore(also=also))


def open_preparer(also: Path | None) -> Preparer:
    """Return what brings models into BentoML's store, where the store `also` has not got them.

    Their parity is measured over the sample photographs. A serving container has no photographs, and prepares no
    models.
    """
    return Preparer(BentoModelStore(also=also), measure_parity=measure_over(_PHOTOGRAPHS))


async def open_pipeline(settings: Settings, metrics: Metrics) -> Pipeline:
    """Load and warm every model, open the journal, start the lanes; on the event loop that will serve.

    Raises:
        ModelLoadError: A model of the settings cannot be had.
        JournalUrlError: The journal's URL is none that Lightbox can use.
        CacheUrlError: The cache's URL is none that Lightbox can use.
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
            on_waiting=metrics.journal_waiting.set,
        )
        opened.push_async_callback(asyncio.to_thread, journal.close, JOURNAL_CLOSE_S)
        classifier, parts = _wire(settings, warm, observers=(metrics, _JournalObserver(journal)), metrics=metrics)
        opened.pop_all()
    return Pipeline(settings=settings, classifier=classifier, journal=journal, parts=parts, started_s=started_s)


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


def _load_models(settings: Settings, names: Sequence[str]) -> WarmModels:
    silence_pillow()
    kind, device = choose_engine(settings.engine, settings.device)
    if os.environ.get(BENTO_PATH):
        warn_gpu_unused(settings.engine, settings.device, (kind, device))
    division = divide(
        count_cpus(),
        workers=settings.worker_count,
        device_kind=device,
        lanes=settings.lanes,
        decode_threads=settings.decode_threads,
    )
    catalogue = open_catalogue(settings.model_store)
    models: list[WarmModel] = []
    costs: dict[str, Mapping[EngineMode, CostModel]] = {}
    with ExitStack() as opened:

        def load(name: str) -> tuple[StoredModel, Engine]:
            stored = catalogue.load_to_serve(name, kind, allow_inexact=settings.allow_inexact)
            engine = create_engine(
                kind,
                device,
                stored,
                lanes=division.lanes,
                threads=division.compute_threads,
                workers=settings.worker_count,
                precision=settings.precision,
                compile_model=settings.torch_compile,
            )
            opened.callback(engine.close)
            return stored, engine

        loaded = _load_side_by_side(load, names, threads=count_cpus() if device == "cpu" else 1)
        for name, (stored, engine) in zip(names, loaded, strict=True):
            begun_s = time.perf_counter()
            cost = measure_costs(
                engine.infer,
                stored.card.recipe,
                modes=engine.modes,
                sizes=_BATCH_SIZES,
                bucket_sizes=engine.bucket_sizes,
                clock=time.perf_counter,
                budget_s=max(_LEAST_WARM_UP_S, min(1.0, _WARM_UP_S / len(names))),
            )
            card = replace(stored.card, parity=engine.parity) if engine.parity else stored.card
            models.append(WarmModel(card, engine))
            costs[name] = cost
            logger.info(
                "%s is warm on %s (%s) after %.1f s of runs: %s ms a batch",
                name,
                engine.name,
                engine.precision,
                time.perf_counter() - begun_s,
                {size: round(ms, 1) for size, ms in cost[EngineMode.THROUGHPUT].curve_ms().items()},
            )
        opened.pop_all()
    return WarmModels(tuple(models), costs, division)


def _load_side_by_side(
    load: Callable[[str], tuple[StoredModel, Engine]], names: Sequence[str], *, threads: int
) -> list[tuple[StoredModel, Engine]]:
    """Load every model, all before any is timed: most of compiling one takes a single CPU.

    The first one alone, on this thread: libraries settle what the process shares with their first engine.
    """
    first = load(names[0])
    with ThreadPoolExecutor(threads, "lightbox-load") as pool:
        return [first, *pool.map(load, names[1:])]


def _wire(
    settings: Settings, warm: WarmModels, *, observers: Sequence[Observer], metrics: Metrics | None
) -> tuple[Classifier, PipelineParts]:
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
    work_cost = WorkEstimator(
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
    workshop = Preprocessor(
        DecodePool(division.decode_threads, patience_s=settings.target_p99_ms / 1000),
        scheduler,
        work_cost,
        ImageLimits(settings.max_image_bytes, settings.max_pixels),
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
    return classifier, PipelineParts(warm, scheduler, workshop.decode_pool, cache)
