"""The state of a worker and of its models."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from bento_service.domain.models import ModelCard
from bento_service.domain.runner import Device, Dispatch, ModelCost


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A served model: its card, and what runs it; `cache_scope` is from `cache.result_cache.name_scope`.

    `has_features` tells whether its engine returns the feature map that explains a class.
    """

    card: ModelCard
    is_default: bool
    engine: str
    precision: str
    device: Device
    cache_scope: str = ""
    has_features: bool = False


class ServiceState(StrEnum):
    """The state of a worker."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """The status of a worker; the defaults are those of one that loads.

    `device`, None until a model is loaded, and `engine` are those of the first model, `engines` has all models by name.
    `queue_depth` counts images admitted and not yet answered, `batch_ceiling`
    is the largest batch by model, `journal` has the rows waiting, written and dropped. `recent_dispatches` is newest
    first. `cache` has its counters, entries and bytes; it is empty where the cache is off.
    """

    state: ServiceState
    workers: int
    target_p99_ms: float
    uptime_s: float
    device: Device | None = None
    engine: str = ""
    engines: Mapping[str, ServedModel] = field(default_factory=dict)
    lanes: int = 0
    decode_threads: int = 0
    queue_depth: int = 0
    batch_ceiling: Mapping[str, int] = field(default_factory=dict)
    predicted_wait_ms: float = 0.0
    journal: Mapping[str, int] = field(default_factory=dict)
    cost: tuple[ModelCost, ...] = ()
    recent_dispatches: tuple[Dispatch, ...] = ()
    cache: Mapping[str, float] = field(default_factory=dict)
