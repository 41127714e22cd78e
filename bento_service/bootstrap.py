"""The one place that chooses concrete parts: takes settings, and opens a warm classifier."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from bento_service.cache.result_cache import ResultCache, open_cache
from bento_service.domain.models import StoredModel
from bento_service.domain.requests import Receipt
from bento_service.domain.runner import EngineMode
from bento_service.engines.choice import Choice, ChooseEngine, choose_engine, create_engine, warn_gpu_unused
from bento_service.images.jpeg import OPT_IN_OVERSAMPLING
from bento_service.images.pillow_reader import silence_pillow
from bento_service.images.preprocessing import ImageLimits
from bento_service.journal.base import Journal
from bento_service.journal.writer import open_journal
from bento_service.machine import Division, count_cpus, divide
from bento_service.models.gate import read_card
from bento_service.models.measured_costs import MeasuredCosts
from bento_service.models.store import BentoModelStore
from bento_service.observability.metrics import Metrics
from bento_service.pipeline.classifier import Classifier, Observer, WarmModel
from bento_service.pipeline.wiring import Limits, Pipeline, RunningClassifier, start_classifier
from bento_service.scheduling.cost_model import CostModel
from bento_service.scheduling.warmup import measure_costs
from bento_service.settings import BENTO_PATH, JOURNAL_CLOSE_S, LANES_STOP_S, Settings

logger = logging.getLogger(__name__)

_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_WARM_UP_S = 1.5
"""Time for the measured runs of all models together; a single model takes at most one second of it."""
_LEAST_WARM_UP_S = 0.3


class _JournalObserver:
    """Hands each receipt to the journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def observe_receipt(self, receipt: Receipt) -> None:
        self._journal.record(receipt)

    def observe_rejection(self, reason: str) -> None:
        """Do nothing: the rejection has a receipt."""


@asynccontextmanager
async def open_pipeline(
    settings: Settings, metrics: Metrics, choose: ChooseEngine = choose_engine
) -> AsyncIterator[Pipeline]:
    """Open the journal, load and warm every model, start the lanes; on the event loop that will serve.

    `choose` resolves the settings' engine and device for a model. At the end the lanes stop first, after them the
    decode threads, the cache, the models and the journal.

    Raises:
        ModelLoadError: A model of the settings cannot be loaded.
        JournalUrlError: The journal's URL is invalid.
        CacheUrlError: The cache's URL is invalid.
    """
    started_s = time.monotonic()
    async with AsyncExitStack() as stack:
        journal = await asyncio.to_thread(
            open_journal,
            settings,
            on_dropped=metrics.journal_dropped.inc,
            on_written=metrics.journal_written.inc,
            on_waiting=metrics.journal_waiting.set,
        )
        stack.push_async_callback(asyncio.to_thread, journal.close, JOURNAL_CLOSE_S)
        cache = open_cache(settings, observer=metrics)
        loaded, running = await stack.enter_async_context(
            _open_classifier(
                settings,
                settings.models,
                cache=cache,
                observers=(metrics, _JournalObserver(journal)),
                metrics=metrics,
                choose=choose,
            )
        )
        yield Pipeline(
            settings=settings,
            classifier=running.classifier,
            queue=running.scheduler.queue,
            division=loaded.division,
            cache=cache,
            journal=journal,
            started_s=started_s,
        )


@asynccontextmanager
async def open_local(settings: Settings, *, model: str | None = None) -> AsyncIterator[Classifier]:
    """Open a classifier for one command: no journal, no metrics, and one model.

    Raises:
        ModelLoadError: The model cannot be loaded.
    """
    names = (model or settings.default_model_name,)
    async with _open_classifier(settings, names, cache=None, observers=(), metrics=None) as (_, running):
        yield running.classifier


@dataclass(frozen=True, slots=True)
class _WarmModels:
    """Warm models, their measured costs by name and mode, and what closes their engines."""

    models: tuple[WarmModel, ...]
    costs: Mapping[str, Mapping[EngineMode, CostModel]]
    division: Division
    engines: ExitStack


def _load_models(settings: Settings, names: Sequence[str], choose: ChooseEngine) -> _WarmModels:
    silence_pillow()
    if os.environ.get(BENTO_PATH):
        warn_gpu_unused(settings.engine, settings.device)
    store = BentoModelStore(also=settings.model_store)
    choices: dict[str, tuple[StoredModel, Choice]] = {}
    for name in names:
        stored = store.load(name)
        choices[name] = stored, choose(settings.engine, settings.device, stored)
    has_gpu = any(choice.device == "cuda" for _, choice in choices.values())
    division = divide(
        count_cpus(),
        workers=settings.worker_count,
        device_kind="cuda" if has_gpu else "cpu",
        lanes=settings.lanes,
        decode_threads=settings.decode_threads,
    )
    with ExitStack() as engines:

        def load(name: str) -> WarmModel:
            model = _load(settings, *choices[name], division)
            engines.callback(model.engine.close)
            return model

        models = _load_side_by_side(load, choices, threads=1 if has_gpu else count_cpus())
        budget_s = max(_LEAST_WARM_UP_S, min(1.0, _WARM_UP_S / len(names)))
        measured = MeasuredCosts(settings.data_dir / "batch-costs")
        costs = {model.card.name: _warm_up(model, division, budget_s, measured) for model in models}
        return _WarmModels(models, costs, division, engines.pop_all())


def _load_side_by_side(
    load: Callable[[str], WarmModel], choices: Mapping[str, tuple[StoredModel, Choice]], *, threads: int
) -> tuple[WarmModel, ...]:
    """Load every model, before any is timed: most of compiling a model uses a single CPU.

    The first one of each engine loads alone, on this thread: libraries set up what the process shares with it.
    """
    first_names = {choice.engine: name for name, (_, choice) in reversed(list(choices.items()))}.values()
    models = {name: load(name) for name in first_names}
    others = [name for name in choices if name not in models]
    with ThreadPoolExecutor(threads, "lightbox-load") as pool:
        models |= zip(others, pool.map(load, others), strict=True)
    return tuple(models[name] for name in choices)


def _load(settings: Settings, stored: StoredModel, choice: Choice, division: Division) -> WarmModel:
    card = read_card(stored, choice.engine, allow_inexact=settings.allow_inexact)
    if choice.reason:
        device = "GPU" if choice.device == "cuda" else "CPU, although there is a GPU"
        logger.warning("%s runs on %s on the %s. %s", card.name, choice.engine, device, choice.reason)
    engine = create_engine(
        choice.engine,
        choice.device,
        stored,
        lanes=division.lanes,
        threads=division.compute_threads,
        workers=settings.worker_count,
        precision=settings.precision,
        compile_model=settings.torch_compile,
    )
    return WarmModel(replace(card, parity=engine.parity) if engine.parity else card, engine)


def _warm_up(
    model: WarmModel, division: Division, budget_s: float, measured: MeasuredCosts
) -> Mapping[EngineMode, CostModel]:
    begun_s = time.perf_counter()
    engine = model.engine
    conditions = (model.card.version, engine.library, engine.precision, engine.device, division, sorted(engine.modes))
    known_ms = measured.find(*conditions)
    cost = measure_costs(
        engine.infer,
        model.card.recipe,
        modes=engine.modes,
        sizes=_BATCH_SIZES,
        bucket_sizes=engine.bucket_sizes,
        clock=time.perf_counter,
        budget_s=budget_s,
        known_ms=known_ms,
    )
    durations_ms = {mode: modelled.curve_ms() for mode, modelled in cost.items()}
    if durations_ms != known_ms:
        measured.keep(durations_ms, *conditions)
    logger.info(
        "%s is warm on %s (%s, %s) after %.1f s of runs: %s ms a batch",
        model.card.name,
        engine.name,
        engine.device.kind,
        engine.precision,
        time.perf_counter() - begun_s,
        {size: round(ms, 1) for size, ms in cost[EngineMode.THROUGHPUT].curve_ms().items()},
    )
    return cost


@asynccontextmanager
async def _open_classifier(
    settings: Settings,
    names: Sequence[str],
    *,
    cache: ResultCache | None,
    observers: Sequence[Observer],
    metrics: Metrics | None,
    choose: ChooseEngine = choose_engine,
) -> AsyncIterator[tuple[_WarmModels, RunningClassifier]]:
    """Load the models and start the threads that serve them; at the end close them all, and the cache."""
    async with AsyncExitStack() as stack:
        if cache is not None:
            stack.push_async_callback(cache.close)
        loaded = await asyncio.to_thread(_load_models, settings, names, choose)
        engines = stack.enter_context(loaded.engines)
        available = [model.card.name for model in loaded.models]
        running = start_classifier(
            loaded.models,
            loaded.costs,
            division=loaded.division,
            limits=Limits(
                target_ms=settings.target_p99_ms,
                max_queue_items=settings.max_queue_items,
                max_receiving_requests=settings.max_receiving_requests,
                image=ImageLimits(settings.max_image_bytes, settings.max_pixels),
            ),
            default_model=settings.default_model_name if settings.default_model_name in available else available[0],
            observers=observers,
            cache=cache,
            min_oversampling=OPT_IN_OVERSAMPLING if settings.scaled_decoding else None,
            on_lane_lost=metrics.lanes_lost.inc if metrics else lambda: None,
            on_out_of_memory=metrics.out_of_memory.inc if metrics else lambda: None,
            on_in_flight=metrics.queue_depth.set if metrics else lambda in_flight: None,
        )
        stack.callback(running.decode_pool.close, wait=False)

        async def stop_lanes() -> None:
            try:
                await asyncio.to_thread(running.scheduler.close, timeout_s=LANES_STOP_S)
            finally:
                if not running.scheduler.has_ended:
                    # An engine waits for the batches in it, and would keep the journal from its last receipts.
                    logger.warning("A lane is still at work; the models go with the process.")
                    engines.pop_all()

        stack.push_async_callback(stop_lanes)
        yield loaded, running
