"""The models of a running worker: adds and removes versions while requests go on."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from bento_service.cache.result_cache import name_scope
from bento_service.domain.models import ModelCard
from bento_service.domain.registry import Deployment, LoadState, VersionStatus
from bento_service.domain.runner import EngineMode
from bento_service.domain.service import ServedModel
from bento_service.engines.base import Engine
from bento_service.errors import LightboxError, ModelLoadError
from bento_service.pipeline.computation import Runner
from bento_service.pipeline.model_table import ModelTable
from bento_service.pipeline.served_models import ServedModels
from bento_service.pipeline.wait_predictor import WaitPredictor
from bento_service.scheduling.cost_model import CostModel
from bento_service.scheduling.scheduler import Scheduler

logger = logging.getLogger(__name__)

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


LoadVersion = Callable[[str, str, Sequence[WarmModel]], Awaitable[WarmModel]]
"""Loads and warms a version, by name and version, beside those that are loaded. Raises `LightboxError`."""


async def load_nothing(name: str, version: str, loaded: Sequence[WarmModel]) -> WarmModel:
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

    async def load(self, name: str, version: str) -> None:
        """Load a version beside what serves, one at a time; see `ModelControl.load`."""
        key = f"{name}:{version}"
        async with self._locks[key]:
            if self.table.current.has(key):
                return
            self._states[name, version] = VersionStatus(LoadState.LOADING)
            try:
                # It stays loaded where an unload was cancelled.
                model = self._models.get(key) or await self._load_alone(name, version)
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
            # A lane may still run an image whose client has disconnected.
            while not self._scheduler.remove_model(key):  # noqa: ASYNC110 - the lanes' threads know no event loop
                await asyncio.sleep(_POLL_S)
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

    async def _load_alone(self, name: str, version: str) -> WarmModel:
        try:
            async with self._loading:
                return await self._load_version(name, version, self.loaded)
        except LightboxError:
            raise
        # Whatever a library raises while it loads, what serves goes on.
        except Exception as error:
            logger.exception("%s:%s cannot be loaded", name, version)
            raise ModelLoadError(
                f"{name}:{version} cannot be loaded: {error or type(error).__name__}. The server's log has more.",
                model=name,
            ) from error

    def _add(self, model: WarmModel) -> ServedModel:
        card, engine = model.card, model.engine
        if card.key not in self._models:
            self._scheduler.add_model(card.key, engine.infer, model.costs)
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
        return ServedModel(card, is_default, engine.name, engine.precision, engine.device, scope)

    def _update_predictor(self) -> None:
        queue = self._scheduler.queue
        self._predictor.resize(
            capacity=self._lanes * max(queue.knees().values(), default=1),
            round_size=self._lanes * max(queue.ceilings().values(), default=1),
        )
