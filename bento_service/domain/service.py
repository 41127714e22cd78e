"""The state of a worker and of its models."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from bento_service.domain.models import ModelCard
from bento_service.domain.runner import Device, Dispatch, ModelCost


class ModelState(StrEnum):
    """The state of a served model. A worker lists its models only once all of them are warm."""

    READY = "ready"


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A served model: its card, engine, precision and state."""

    card: ModelCard
    is_default: bool
    engine: str
    precision: str
    state: ModelState


class ServiceState(StrEnum):
    """The state of a worker."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """The status of a worker.

    `device` is None until a model is loaded. `queue_depth` counts images admitted and not yet answered, `batch_ceiling`
    is the largest batch by model, `journal` has the rows waiting, written and dropped. `recent_dispatches` is newest
    first. `cache` has its counters, entries and bytes; it is empty where the cache is off.
    """

    state: ServiceState
    device: Device | None
    engine: str
    workers: int
    lanes: int
    decode_threads: int
    queue_depth: int
    batch_ceiling: Mapping[str, int]
    predicted_wait_ms: float
    target_p99_ms: float
    uptime_s: float
    journal: Mapping[str, int]
    cost: tuple[ModelCost, ...] = ()
    recent_dispatches: tuple[Dispatch, ...] = ()
    cache: Mapping[str, float] = field(default_factory=dict)
