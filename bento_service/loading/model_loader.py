"""Loads and warms models: those of the start, and later ones beside models that take traffic."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace

from bento_service.domain.models import ModelCard, StoredModel
from bento_service.domain.runner import EngineMode
from bento_service.engines.base import Engine
from bento_service.engines.choice import Choice, ChooseEngine, choose_engine, create_engine, warn_gpu_unused
from bento_service.engines.openvino_engine import reserve_streams
from bento_service.errors import ModelLoadError
from bento_service.images.pillow_reader import silence_pillow
from bento_service.loading.memory import estimate_memory, require_memory
from bento_service.machine import (
    COMPUTE_NICENESS,
    Division,
    count_cpus,
    divide,
    lower_thread_priority,
    read_available_bytes,
)
from bento_service.models.gate import read_card
from bento_service.models.measured_costs import MeasuredCosts
from bento_service.models.store import BentoModelStore
from bento_service.pipeline.live_models import WarmModel
from bento_service.scheduling.cost_model import CostModel
from bento_service.scheduling.policy import BULK_SHARE
from bento_service.scheduling.warmup import Beside, measure_costs
from bento_service.settings import BENTO_PATH, Settings

logger = logging.getLogger(__name__)

_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_WARM_UP_S = 1.5
"""Time for the measured runs of all models together; a single model takes at most one second of it."""
_LEAST_WARM_UP_S = 0.3
_LOADING_NICENESS = 10
"""Niceness of a thread that compiles a model beside traffic. Threads that compute have 5: on a full CPU the load gets a
quarter of their time, by the kernel's weights of 110 and 335."""
_RUNS_ON_CPU = (1, 2, 4, 8)
"""Batch sizes of a model that was loaded beside traffic, on a CPU. Their images run one after the other (ADR 8), so
only one image is timed."""
_LOAD_TIMEOUT_S = 600.0
"""Time for one load beside traffic, which those of other models wait for. With `torch_compile` each batch size takes a
minute or more."""


@dataclass(frozen=True, slots=True)
class FirstModels:
    """The models of a start, and how the machine is divided for these and all later ones."""

    models: tuple[WarmModel, ...]
    division: Division


class ModelLoader:
    """Loads prepared models as the settings say. `choose` resolves their engine and device for a model."""

    def __init__(
        self,
        settings: Settings,
        choose: ChooseEngine = choose_engine,
        *,
        read_available: Callable[[], int] = read_available_bytes,
        load_timeout_s: float = _LOAD_TIMEOUT_S,
    ) -> None:
        self._load_timeout_s = load_timeout_s
        self._settings = settings
        self._choose = choose
        self._read_available = read_available
        self._store = BentoModelStore(also=settings.model_store)
        self._measured = MeasuredCosts(settings.data_dir / "batch-costs")
        self._division: Division | None = None

    def load_first(self, names: Sequence[str]) -> FirstModels:
        """Load models while nothing is served, as fast as the machine can. Blocks.

        Raises:
            LightboxError: One of them cannot be loaded; the others are closed.
        """
        settings = self._settings
        silence_pillow()
        if os.environ.get(BENTO_PATH):
            warn_gpu_unused(settings.engine, settings.device)
        choices: dict[str, tuple[StoredModel, Choice]] = {}
        for name in names:
            stored = self._store.load(name)
            # A bare name and `name:version` may mean the same one.
            if stored.card.key not in choices:
                choices[stored.card.key] = stored, self._choose(settings.engine, settings.device, stored)
        has_gpu = any(choice.device == "cuda" for _, choice in choices.values())
        division = self._division = divide(
            count_cpus(),
            workers=settings.worker_count,
            device_kind="cuda" if has_gpu else "cpu",
            lanes=settings.lanes,
            decode_threads=settings.decode_threads,
        )
        with ExitStack() as engines:

            def load(key: str) -> tuple[ModelCard, Engine]:
                card, engine = self._load(*choices[key], division)
                engines.callback(engine.close)
                return card, engine

            loaded = _load_side_by_side(load, choices, threads=1 if has_gpu else count_cpus())
            budget_s = max(_LEAST_WARM_UP_S, min(1.0, _WARM_UP_S / len(choices)))
            models = tuple(
                WarmModel(card, engine, self._warm_up(card, engine, division, budget_s), estimate_memory(stored)[0])
                for (card, engine), (stored, _) in zip(loaded, choices.values(), strict=True)
            )
            engines.pop_all()
        return FirstModels(models, division)

    async def load_beside(self, name: str, version: str, loaded: Sequence[WarmModel], loaded_by: int) -> WarmModel:
        """Load one more version beside those that take traffic, at low priority; as `live_models.LoadVersion`.

        Raises:
            ModelLoadError: It is not stored, fails the parity gate, would not fit into memory, cannot be run, or takes
                too long. A thread that hangs is left behind; once it ends, its model is closed.
        """
        limit = asyncio.timeout(self._load_timeout_s)
        try:
            async with limit:
                stored, choice = await asyncio.to_thread(self._find, name, version)
                # What is available lacks the memory of the workers that have it; the others load it now, as this one.
                workers = max(1, self._settings.worker_count - loaded_by)
                require_memory(stored, loaded, workers=workers, available_bytes=self._read_available())
                return await _run_at_low_priority(lambda: self._load_gently(stored, choice))
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise ModelLoadError(
                f"{name}:{version} was not loaded within {self._load_timeout_s:g} s, and is given up. What of it "
                "still runs ends by itself, or with the process.",
                model=name,
            ) from error

    def _find(self, name: str, version: str) -> tuple[StoredModel, Choice]:
        stored = self._store.load(name, version)
        return stored, self._choose(self._settings.engine, self._settings.device, stored)

    def _load_gently(self, stored: StoredModel, choice: Choice) -> WarmModel:
        division = self._division
        if division is None:
            raise RuntimeError("the first models are not loaded yet")
        lower_thread_priority(COMPUTE_NICENESS)
        # Other libraries compile little, and start threads that are to compute.
        if choice.engine == "openvino":
            workers = self._settings.worker_count
            reserve_streams(lanes=division.lanes, threads=division.compute_threads, workers=workers)
            lower_thread_priority(_LOADING_NICENESS)
        card, engine = self._load(stored, choice, division)
        try:
            beside = Beside(longest_s=BULK_SHARE * self._settings.target_p99_ms / 1000, rest=time.sleep)
            costs = self._warm_up(card, engine, division, beside=beside)
            if engine.device.kind == "cpu":
                costs = {**costs, EngineMode.THROUGHPUT: _extend(costs[EngineMode.THROUGHPUT], card)}
        except BaseException:
            engine.close()
            raise
        return WarmModel(card, engine, costs, estimate_memory(stored)[0])

    def _load(self, stored: StoredModel, choice: Choice, division: Division) -> tuple[ModelCard, Engine]:
        settings = self._settings
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
        return (replace(card, parity=engine.parity) if engine.parity else card), engine

    def _warm_up(
        self,
        card: ModelCard,
        engine: Engine,
        division: Division,
        budget_s: float = _LEAST_WARM_UP_S,
        beside: Beside | None = None,
    ) -> Mapping[EngineMode, CostModel]:
        begun_s = time.perf_counter()
        conditions = (card.version, engine.library, engine.precision, engine.device, division, sorted(engine.modes))
        known_ms = None if beside else self._measured.find(*conditions)
        cost = measure_costs(
            engine.infer,
            card.recipe,
            modes=engine.modes,
            sizes=(1,) if beside and engine.device.kind == "cpu" else _limit(_BATCH_SIZES, card),
            bucket_sizes=_limit(engine.bucket_sizes, card),
            clock=time.perf_counter,
            budget_s=budget_s,
            known_ms=known_ms,
            runs_images_in_turn=engine.device.kind == "cpu" and not engine.bucket_sizes,
            beside=beside,
        )
        durations_ms = {mode: modelled.curve_ms() for mode, modelled in cost.items()}
        # A measurement beside traffic is rougher, and of fewer sizes.
        if beside is None and durations_ms != known_ms:
            self._measured.keep(durations_ms, *conditions)
        logger.info(
            "%s is warm on %s (%s, %s) after %.1f s of runs: %s ms a batch",
            card.key,
            engine.name,
            engine.device.kind,
            engine.precision,
            time.perf_counter() - begun_s,
            {size: round(ms, 1) for size, ms in cost[EngineMode.THROUGHPUT].curve_ms().items()},
        )
        return cost


def _load_side_by_side(
    load: Callable[[str], tuple[ModelCard, Engine]],
    choices: Mapping[str, tuple[StoredModel, Choice]],
    *,
    threads: int,
) -> tuple[tuple[ModelCard, Engine], ...]:
    """Load every model, before any is timed: most of compiling a model uses a single CPU.

    The first one of each engine loads alone, on this thread: libraries set up what the process shares with it.
    """
    first_keys = {choice.engine: key for key, (_, choice) in reversed(list(choices.items()))}.values()
    models = {key: load(key) for key in first_keys}
    others = [key for key in choices if key not in models]
    with ThreadPoolExecutor(threads, "lightbox-load") as pool:
        models |= zip(others, pool.map(load, others), strict=True)
    return tuple(models[key] for key in choices)


def _limit(sizes: Sequence[int], card: ModelCard) -> tuple[int, ...]:
    return tuple(size for size in sizes if card.max_batch is None or size <= card.max_batch)


def _extend(cost: CostModel, card: ModelCard) -> CostModel:
    """Return the costs of batches whose images run one after the other."""
    return CostModel({size: size * cost.predict_ms(1) for size in _limit(_RUNS_ON_CPU, card)})


async def _run_at_low_priority(load: Callable[[], WarmModel]) -> WarmModel:
    """Run `load` in a thread of its own, which no exit of the process waits for.

    If the call is cancelled, the thread ends by itself and its model is closed.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[WarmModel] = loop.create_future()

    def settle(model: WarmModel | None, error: BaseException | None) -> None:
        if model is not None and future.done():
            model.engine.close()
        elif model is not None:
            future.set_result(model)
        elif error is not None and not future.done():
            future.set_exception(error)

    def run() -> None:
        model: WarmModel | None = None
        failure: BaseException | None = None
        try:
            model = load()
        # `settle` passes it on to the future.
        except BaseException as error:  # noqa: BLE001
            failure = error
        try:
            loop.call_soon_threadsafe(settle, model, failure)
        except RuntimeError:
            logger.warning("The event loop is closed; a model that was loading goes with the process.")

    threading.Thread(target=run, name="lightbox-load", daemon=True).start()
    return await future
