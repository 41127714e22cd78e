"""The models of a running worker: adds and removes versions while requests go on."""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bento_service.cache.result_cache import name_scope
from bento_service.domain.models import ModelCard
from bento_service.domain.registry import Deployment, LoadState, VersionStatus
from bento_service.domain.runner import EngineMode
from bento_service.domain.service import ServedModel
from bento_service.engines.base import Engine
from bento_service.errors import LightboxError, ModelLoadError
from bento_service.pipeline.computation import Runner, run_pixels
from bento_service.pipeline.model_table import ModelTable
from bento_service.pipeline.served_models import ServedModels
from bento_service.pipeline.wait_predictor import WaitPredictor
from bento_service.scheduling.cost_model import CostModel
from bento_service.scheduling.scheduler import Scheduler
from bento_service.scheduling.work import Completion

logger = logging.getLogger(__name__)

_PROBES = 6
"""Images that a loaded version runs before it is served; the first one does not count."""
_EQUALLY_FAST = 2.0
"""Versions whose speeds differ by less than this factor get the same costs at first."""
_POLL_S = 0.01
"""Time between two looks whether the last batch of a removed version is over."""


@dataclass(frozen=True, slots=True)
class WarmModel:
    """A version that is loaded and has run, and what warm-up measured.

    `memory_bytes` is what it takes by its card, or an estimate.
    """

    card: ModelCard
    engine: Engine
    costs: Mapping[EngineMode, CostModel]
    memory_bytes: int = 0


LoadVersion = Callable[[str, str, Sequence[WarmModel], int], Awaitable[WarmModel]]
"""Loads and warms a version, by name and version, beside those that are loaded. Raises `LightboxError`.

The last argument is `loaded_by` of `ModelControl.load`.
"""


async def load_nothing(name: str, version: str, loaded: Sequence[WarmModel], loaded_by: int) -> WarmModel:
    """Refuse to load: for a process whose models never change."""
    raise ModelLoadError(f"{name}:{version} cannot be loaded: the models of this process do not change.", model=name)


class LiveModels:
    """A `ModelControl` over scheduler, estimates and the table of served models. Used on one event loop.

    A version is added to scheduler and estimates before the table names it, and leaves the table first: a request
    finds either all of it or nothing.
    """

    def __init__(
        self,
        models: Sequence[WarmModel],
        *,
        default_model: str,
        scheduler: Scheduler,
        runner: Runner,
        predictor: WaitPredictor,
        lanes: int,
        load_version: LoadVersion = load_nothing,
    ) -> None:
        """Serve `models`, at least one; the first version of each name is its champion."""
        self._scheduler = scheduler
        self._runner = runner
        self._predictor = predictor
        self._lanes = lanes
        self._load_version = load_version
        self._default_model = default_model
        self._models: dict[str, WarmModel] = {}
        self._states: dict[tuple[str, str], VersionStatus] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._loading = asyncio.Lock()
        self.table = ModelTable(ServedModels.of([self._add(model) for model in models], default_model))

    @property
    def loaded(self) -> tuple[WarmModel, ...]:
        """Every version whose engine is open."""
        return tuple(self._models.values())

    async def load(self, name: str, version: str, *, loaded_by: int = 0) -> None:
        """Load a version beside what serves, one at a time; see `ModelControl.load`."""
        key = f"{name}:{version}"
        async with self._locks[key]:
            if self.table.current.has(key):
                return
            self._states[name, version] = VersionStatus(LoadState.LOADING)
            try:
                # It stays loaded where an unload was cancelled.
                model = self._models.get(key) or await self._probe(await self._load_alone(name, version, loaded_by))
            except LightboxError as error:
                self._states[name, version] = VersionStatus(LoadState.FAILED, error.message)
                raise
            except BaseException:
                del self._states[name, version]
                raise
            self.table.replace(self.table.current.with_version(self._add(model)))

    async def unload(self, name: str, version: str) -> None:
        """Close a version after its last request; see `ModelControl.unload`."""
        key = f"{name}:{version}"
        async with self._locks[key]:
            model = self._models.get(key)
            if model is None:
                # One that failed is forgotten.
                self._states.pop((name, version), None)
                return
            if self.table.current.has(key):
                self.table.replace(self.table.current.without_version(name, version))
            self._states[name, version] = VersionStatus(LoadState.UNLOADING, memory_bytes=model.memory_bytes)
            await self.table.wait_unused(key)
            await self._remove_from_scheduler(key)
            self._runner.estimator.remove_model(key)
            del self._models[key]
            self._update_predictor()
            await asyncio.to_thread(model.engine.close)
            del self._states[name, version]
        logger.info("%s is unloaded", key)

    def set_deployment(self, deployment: Deployment) -> None:
        """Route one name's requests in one step; see `ModelControl.set_deployment`."""
        self.table.replace(self.table.current.with_deployment(deployment))

    def states(self) -> Mapping[tuple[str, str], VersionStatus]:
        """Return the state of each version; see `ModelControl.states`."""
        return dict(self._states)

    def close_engines(self) -> None:
        """Close every engine, once no lane runs any more."""
        for model in self._models.values():
            model.engine.close()

    async def _load_alone(self, name: str, version: str, loaded_by: int) -> WarmModel:
        try:
            async with self._loading:
                return await self._load_version(name, version, self.loaded, loaded_by)
        except LightboxError:
            raise
        # Whatever a library raises while it loads, what serves goes on.
        except Exception as error:
            logger.exception("%s:%s cannot be loaded", name, version)
            raise ModelLoadError(
                f"{name}:{version} cannot be loaded: {error or type(error).__name__}. The server's log has more.",
                model=name,
            ) from error

    async def _probe(self, model: WarmModel) -> WarmModel:
        """Let a few images take their turn on the lanes, and correct the costs by what they take there.

        What a loading thread measures beside the lanes is up to several times too long: then too much work would be
        predicted once the version is promoted, and images be rejected. On a lane a run takes as long as those of the
        other models, one of which runs as many images at the same time. A version that fails on these images is not
        served.
        """
        key = model.card.key
        measured = {mode: cost.curve_ms() for mode, cost in model.costs.items()}
        # One mode, so that the runs are alike.
        mode, bucket_sizes = EngineMode.THROUGHPUT, model.costs[EngineMode.THROUGHPUT].bucket_sizes
        costs = {mode: CostModel(measured[mode], bucket_sizes=bucket_sizes)}
        self._scheduler.add_model(key, model.engine.infer, costs)
        try:
            with self.table.hold(self.table.current) as models:
                reference = self._find_reference(model, models)
                cards = [one.card for one in (model, reference) if one is not None]
                runs = [await asyncio.gather(*map(self._run_probe, cards)) for _ in range(_PROBES)]
        except BaseException:
            await self._remove_from_scheduler(key)
            await asyncio.to_thread(model.engine.close)
            raise
        await self._remove_from_scheduler(key)
        if reference is None:
            return model
        factor = _compare_speed(runs[1:], reference, measured[mode][1])
        corrected = {
            one: CostModel({size: ms * factor for size, ms in measured[one].items()}, bucket_sizes=cost.bucket_sizes)
            for one, cost in model.costs.items()
        }
        return replace(model, costs=corrected)

    async def _run_probe(self, card: ModelCard) -> Completion:
        """Run one image of noise as any other."""
        recipe = card.recipe
        shape = (recipe.height_px, recipe.width_px, recipe.channel_count)
        noise_hwc = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        return await run_pixels(self._runner, card.key, noise_hwc)

    def _find_reference(self, model: WarmModel, models: ServedModels) -> WarmModel | None:
        """Return a champion: of the same name if there is one, else of the first; None where nothing is served."""
        keys = {champion.card.name: champion.card.key for champion in models.champions}
        key = keys.get(model.card.name) or next(iter(keys.values()), None)
        return self._models[key] if key else None

    async def _remove_from_scheduler(self, key: str) -> None:
        # A lane may still run an image whose client has disconnected.
        while not self._scheduler.remove_model(key):
            await asyncio.to_thread(time.sleep, _POLL_S)  # lanes know no event loop

    def _add(self, model: WarmModel) -> ServedModel:
        card, engine = model.card, model.engine
        if card.key not in self._models:
            with_features = engine.infer_with_features if engine.has_features else None
            self._scheduler.add_model(card.key, engine.infer, model.costs, with_features)
            ceiling = self._scheduler.queue.ceilings()[card.key]
            image_ms = model.costs[EngineMode.THROUGHPUT].predict_ms(ceiling) / ceiling
            self._runner.estimator.add_model(card.key, image_ms)
            self._models[card.key] = model
            self._update_predictor()
        self._states[card.name, card.version] = VersionStatus(LoadState.READY, memory_bytes=model.memory_bytes)
        scope = name_scope(
            card.version,
            library=engine.library,
            device_kind=engine.device.kind,
            precision=engine.precision,
            min_oversampling=self._runner.min_oversampling,
        )
        is_default = card.name == self._default_model
        return ServedModel(
            card, is_default, engine.name, engine.precision, engine.device, scope, has_features=engine.has_features
        )

    def _update_predictor(self) -> None:
        queue = self._scheduler.queue
        self._predictor.resize(
            capacity=self._lanes * max(queue.knees().values(), default=1),
            round_size=self._lanes * max(queue.ceilings().values(), default=1),
        )


def _compare_speed(pairs: Sequence[Sequence[Completion]], reference: WarmModel, measured_ms: float) -> float:
    """Return the factor that corrects a version's `measured_ms`, from its images and those of a reference beside them.

    The least of each is what disturbed it least. A version that takes about as long as the reference counts as equally
    fast: the error of every comparison would grow with each change, and the queue's cost model corrects a speed that
    all sizes share within some batches.
    """
    throughput = reference.costs[EngineMode.THROUGHPUT].describe()
    usual = CostModel({one.batch_size: one.measured_ms for one in throughput})
    own_ms = min(own.inference_ms for own, _ in pairs)
    slowness = min(other.inference_ms / usual.predict_ms(other.batch_size) for _, other in pairs)
    if not own_ms or not slowness:
        return 1.0
    usual_ms = usual.predict_ms(1)
    ratio = own_ms / (slowness * usual_ms)
    return (usual_ms if 1 / _EQUALLY_FAST < ratio < _EQUALLY_FAST else ratio * usual_ms) / measured_ms
