"""The one place that chooses concrete parts: takes settings, and opens a warm classifier."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from functools import partial

from bento_service.cache.result_cache import ResultCache, open_cache
from bento_service.domain.model_names import ModelReference
from bento_service.domain.registry import Comparison
from bento_service.domain.requests import Receipt
from bento_service.engines.choice import ChooseEngine, choose_engine
from bento_service.errors import LightboxError
from bento_service.explain.explainer import Explainer
from bento_service.explain.heads import ClassHeads
from bento_service.images.jpeg import OPT_IN_OVERSAMPLING
from bento_service.images.preprocessing import ImageLimits
from bento_service.journal.base import Journal
from bento_service.journal.writer import open_journal
from bento_service.loading.begun_load import BegunLoad
from bento_service.loading.model_loader import FirstModels, ModelLoader
from bento_service.models.comparisons import WaitingComparisons
from bento_service.models.registry_sql import SqlRegistryStore
from bento_service.models.registry_start import StartPlan, plan_start
from bento_service.models.store import BentoModelStore
from bento_service.observability.metrics import Metrics
from bento_service.pipeline.classifier import Classifier, Observer
from bento_service.pipeline.wiring import Limits, Pipeline, RunningClassifier, start_classifier
from bento_service.settings import JOURNAL_CLOSE_S, LANES_STOP_S, Settings

logger = logging.getLogger(__name__)


class _JournalObserver:
    """Hands each receipt to the journal, and each comparison to the follower of the registry."""

    def __init__(self, journal: Journal, comparisons: WaitingComparisons) -> None:
        self._journal = journal
        self._comparisons = comparisons

    def observe_receipt(self, receipt: Receipt) -> None:
        self._journal.record(receipt)

    def observe_rejection(self, reason: str) -> None:
        """Do nothing: the rejection has a receipt."""

    def observe_comparison(self, comparison: Comparison) -> None:
        self._comparisons.add(comparison)

    def observe_missed_comparison(self, model: str, reason: str) -> None:
        """Do nothing: the metrics count them."""


@asynccontextmanager
async def open_pipeline(
    settings: Settings, metrics: Metrics, choose: ChooseEngine = choose_engine, *, begun: BegunLoad | None = None
) -> AsyncIterator[Pipeline]:
    """Open the journal, load and warm every model, start the lanes; on the event loop that will serve.

    `choose` resolves the settings' engine and device for a model. `begun` is a load of the settings' models. At the end
    the lanes stop first, after them the decode threads, the cache, the models and the journal.

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
        registry, plan = None, StartPlan(settings.models, {})
        if settings.model_control == "explicit":
            registry = SqlRegistryStore(settings.resolved_journal_url)
            stored = BentoModelStore(also=settings.model_store)
            plan = await asyncio.to_thread(plan_start, settings.models, stored, registry)
        comparisons = WaitingComparisons()
        first, running = await stack.enter_async_context(
            _open_classifier(
                settings,
                plan.names,
                cache=cache,
                observers=(metrics, _JournalObserver(journal, comparisons)),
                metrics=metrics,
                choose=choose,
                begun=begun,
                # The registry's follower loads the others, each on its own.
                needs_all=registry is None,
                former=plan.former,
            )
        )
        yield Pipeline(
            settings=settings,
            classifier=running.classifier,
            models=running.models,
            queue=running.scheduler.queue,
            division=first.division,
            cache=cache,
            journal=journal,
            started_s=started_s,
            registry=registry,
            comparisons=comparisons,
            missing=plan.missing,
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


@asynccontextmanager
async def open_local_explainer(settings: Settings, *, model: str) -> AsyncIterator[Explainer]:
    """Open an explainer for one command; as `open_local`, which raises the same."""
    async with open_local(settings, model=model) as classifier:
        yield Explainer(classifier, ClassHeads(BentoModelStore(also=settings.model_store)))


def _load_some(loader: ModelLoader, names: Sequence[str], *, former: Sequence[str]) -> FirstModels:
    """Load all models; or the first one that can be loaded, if one cannot, former champions last."""
    try:
        return loader.load_first(names)
    # Whatever a library raises over a damaged file, the other models serve.
    except Exception as error:
        if isinstance(error, LightboxError):
            logger.error("Not every model can be loaded: %s", error.message)
        else:
            logger.exception("Not every model can be loaded")
        for name in (*names, *former):
            with suppress(Exception):
                return loader.load_first([name])
        raise


@asynccontextmanager
async def _open_classifier(
    settings: Settings,
    names: Sequence[str],
    *,
    cache: ResultCache | None,
    observers: Sequence[Observer],
    metrics: Metrics | None,
    choose: ChooseEngine = choose_engine,
    begun: BegunLoad | None = None,
    needs_all: bool = True,
    former: Sequence[str] = (),
) -> AsyncIterator[tuple[FirstModels, RunningClassifier]]:
    """Load the models and start the threads that serve them; at the end close them all, and the cache."""
    async with AsyncExitStack() as stack:
        if cache is not None:
            stack.push_async_callback(cache.close)
        if begun is not None:
            loader, first = begun.loader, await begun.wait()
        else:
            loader = ModelLoader(settings, choose)
            load_first = loader.load_first if needs_all else partial(_load_some, loader, former=former)
            first = await asyncio.to_thread(load_first, names)
        default_model = ModelReference.parse(settings.default_model_name).name
        available = [model.card.name for model in first.models]
        # Where only some are loaded yet, the default's requests wait for it and go to no other model.
        if needs_all and default_model not in available:
            default_model = available[0]
        engines = stack.enter_context(ExitStack())
        running = start_classifier(
            first.models,
            division=first.division,
            limits=Limits(
                target_ms=settings.target_p99_ms,
                max_queue_items=settings.max_queue_items,
                max_receiving_requests=settings.max_receiving_requests,
                image=ImageLimits(settings.max_image_bytes, settings.max_pixels),
            ),
            default_model=default_model,
            load_version=loader.load_beside,
            observers=observers,
            cache=cache,
            min_oversampling=OPT_IN_OVERSAMPLING if settings.scaled_decoding else None,
            on_lane_lost=metrics.lanes_lost.inc if metrics else lambda: None,
            on_out_of_memory=metrics.out_of_memory.inc if metrics else lambda: None,
            on_in_flight=metrics.queue_depth.set if metrics else lambda in_flight: None,
        )
        engines.callback(running.models.close_engines)
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
        yield first, running
