"""The models of a process on their engine: compiled side by side, then timed one after the other."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace

from bento_service.classifier import WarmModel
from bento_service.domain import EngineMode
from bento_service.engines.base import Engine
from bento_service.engines.factory import choose_engine, create_engine
from bento_service.hardware import Division, count_cpus, divide
from bento_service.models.catalogue import Catalogue
from bento_service.models.store import StoredModel
from bento_service.scheduling.cost_model import CostModel
from bento_service.scheduling.warmup import measure_costs
from bento_service.settings import Settings

logger = logging.getLogger(__name__)

_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_WARM_UP_S = 1.5
"""Time for the runs that count of all models together; a model that is alone takes a second of it."""
_LEAST_WARM_UP_S = 0.3


@dataclass(frozen=True, slots=True)
class WarmModels:
    """Loaded models, what each of them costs by name and mode, and how the machine is divided among them."""

    models: tuple[WarmModel, ...]
    costs: Mapping[str, Mapping[EngineMode, CostModel]]
    division: Division

    def close(self) -> None:
        """Release the engines."""
        for model in self.models:
            model.engine.close()


def load_models(catalogue: Catalogue, names: Sequence[str], settings: Settings) -> WarmModels:
    """Load models into the engine of the settings, and time their batch sizes.

    Raises:
        ModelLoadError: One cannot be had.
        EngineUnavailableError: The engine or the device of the settings is not there.
    """
    kind, device = choose_engine(settings.engine, settings.device)
    division = divide(
        count_cpus(),
        workers=settings.worker_count,
        device_kind=device,
        lanes=settings.lanes,
        decode_threads=settings.decode_threads,
    )
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

        # Timed one after the other, when nothing else is at work.
        for stored, engine in _load_side_by_side(load, names, threads=count_cpus() if device == "cpu" else 1):
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
            costs[card.name] = cost
            logger.info(
                "%s is warm on %s (%s) after %.1f s of runs: %s ms a batch",
                card.name,
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
    """Load every model: an engine mostly compiles on one CPU.

    The first one alone, on this thread: libraries settle what the process shares with their first engine.
    """
    first = load(names[0])
    with ThreadPoolExecutor(max(1, threads), "lightbox-load") as pool:
        return [first, *pool.map(load, names[1:])]
