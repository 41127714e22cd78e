"""Builds a classifier from warm models: queue, lanes, decode threads and admission; and holds a worker's parts."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from bento_service.cache.result_cache import ResultCache
from bento_service.domain.service import ServiceState, ServiceStatus
from bento_service.images.preprocessing import ImageLimits
from bento_service.journal.base import Journal
from bento_service.machine import Division
from bento_service.models.comparisons import WaitingComparisons
from bento_service.models.registry import RegistryStore
from bento_service.pipeline.admission import Admission
from bento_service.pipeline.classifier import Classifier, Observer
from bento_service.pipeline.computation import Runner
from bento_service.pipeline.decode_pool import DecodePool
from bento_service.pipeline.live_models import LiveModels, LoadVersion, WarmModel, load_nothing
from bento_service.pipeline.wait_predictor import WaitPredictor
from bento_service.pipeline.work_estimate import WorkEstimator
from bento_service.scheduling.queue import WorkQueue
from bento_service.scheduling.scheduler import Scheduler
from bento_service.settings import Settings


@dataclass(frozen=True, slots=True)
class Limits:
    """What a classifier admits: `image` is the largest image; for the others see `Admission`."""

    target_ms: float
    max_queue_items: int
    max_receiving_requests: int
    image: ImageLimits


@dataclass(frozen=True, slots=True)
class RunningClassifier:
    """A classifier, its models and its threads; the caller of `start_classifier` closes them."""

    classifier: Classifier
    models: LiveModels
    scheduler: Scheduler
    decode_pool: DecodePool


def start_classifier(
    models: Sequence[WarmModel],
    *,
    division: Division,
    limits: Limits,
    default_model: str,
    load_version: LoadVersion = load_nothing,
    observers: Sequence[Observer] = (),
    cache: ResultCache | None = None,
    min_oversampling: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
    on_lane_lost: Callable[[], None] = lambda: None,
    on_out_of_memory: Callable[[], None] = lambda: None,
    on_in_flight: Callable[[int], None] = lambda in_flight: None,
) -> RunningClassifier:
    """Start lanes and decode threads, and return the classifier over them; on the event loop that will serve.

    Args:
        models: At least one.
        division: How many lanes and decode threads.
        limits: What is admitted.
        default_model: The model for requests that name none.
        load_version: Loads what is added later.
        observers: Get every receipt.
        cache: Results of images seen before, or None.
        min_oversampling: That of `preprocess`.
        clock: Seconds, monotonic.
        on_lane_lost: Called from a lane's thread when it dies.
        on_out_of_memory: Called from a lane's thread for each batch that met out-of-memory.
        on_in_flight: Called with the number of images in flight whenever it changes.
    """
    scheduler = Scheduler(
        {},
        {},
        lanes=division.lanes,
        target_ms=limits.target_ms,
        clock=clock,
        loop=asyncio.get_running_loop(),
        on_lane_lost=on_lane_lost,
        on_out_of_memory=on_out_of_memory,
    )
    # One model on the CPU is enough for inference and decoding to share the cores.
    is_cpu = any(model.engine.device.kind == "cpu" for model in models)
    decode_pool = DecodePool(division.decode_threads, patience_s=limits.target_ms / 1000, clock=clock)
    runner = Runner(
        decode_pool,
        scheduler.queue,
        WorkEstimator(
            {},
            decode_threads=division.decode_threads,
            lanes=division.lanes if is_cpu else 1,
            shares_cores=is_cpu,
            max_pixels=limits.image.max_pixels,
        ),
        limits.image,
        min_oversampling,
        clock,
    )
    predictor = WaitPredictor(capacity=division.lanes, clock=clock)
    live_models = LiveModels(
        models,
        default_model=default_model,
        scheduler=scheduler,
        runner=runner,
        predictor=predictor,
        lanes=division.lanes,
        load_version=load_version,
    )
    admission = Admission(
        predictor,
        target_ms=limits.target_ms,
        max_queued=limits.max_queue_items,
        max_receiving=limits.max_receiving_requests,
        on_change=on_in_flight,
    )
    classifier = Classifier(
        live_models.table,
        runner=runner,
        admission=admission,
        observers=observers,
        cache=cache,
        shadows_at_once=division.lanes,
    )
    return RunningClassifier(classifier, live_models, scheduler, decode_pool)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A classifier and its parts, opened and closed by `bento_service.bootstrap.open_pipeline`.

    `registry` is None where the settings fix what is served. Its follower closes it, and writes `comparisons` to it.
    `missing` says why a model of the settings is not served, by its name.
    """

    settings: Settings
    classifier: Classifier
    models: LiveModels
    queue: WorkQueue
    division: Division
    cache: ResultCache | None
    journal: Journal
    started_s: float
    registry: RegistryStore | None = None
    comparisons: WaitingComparisons = field(default_factory=WaitingComparisons)
    missing: Mapping[str, str] = field(default_factory=dict)

    def status(self) -> ServiceStatus:
        """Describe how this process is doing."""
        served = self.classifier.served
        models = served.champions
        name_of = served.name_of
        return ServiceStatus(
            state=ServiceState.DRAINING if self.classifier.is_draining else ServiceState.READY,
            # A default that is not loaded leaves none, once all others are unloaded.
            device=models[0].device if models else None,
            engine=models[0].engine if models else "",
            engines={name_of(model.card.key): model for model in served.versions},
            workers=self.settings.worker_count,
            lanes=self.division.lanes,
            decode_threads=self.division.decode_threads,
            queue_depth=self.classifier.in_flight,
            batch_ceiling={name_of(key): size for key, size in self.queue.ceilings().items()},
            predicted_wait_ms=self.classifier.predicted_wait_ms,
            target_p99_ms=self.settings.target_p99_ms,
            uptime_s=time.monotonic() - self.started_s,
            journal=asdict(self.journal.counts()),
            cost=tuple(replace(cost, model=name_of(cost.model)) for cost in self.queue.costs()),
            recent_dispatches=tuple(
                replace(dispatch, model=name_of(dispatch.model)) for dispatch in self.queue.recent_dispatches()
            ),
            cache=self.cache.describe() if self.cache else {},
        )
