"""The fake service's scheduler: cost model, last batches, cache."""

from collections.abc import Iterable
from dataclasses import asdict
from types import MappingProxyType

from bento_service.domain.runner import BatchCost, Dispatch, DispatchReason, EngineMode, ModelCost
from lightbox_client import contract

BATCH_SIZES = (1, 2, 4, 8)
CEILING = 4
"""The largest batch of each model: those of 8 were measured at warm-up and do not run."""
DISPATCH_REASONS = ("lane_free", "backlog", "lane_free", "held", "lane_free", "bisected", "shrunk", "recovered")
CACHE = MappingProxyType(
    {"hit": 60.0, "shared": 5.0, "miss": 135.0, "recent_hit_rate": 0.325, "entries": 135.0, "bytes": 667_440.0}
)


def model_costs(models: Iterable[str]) -> list[contract.ModelCost]:
    """The fitted costs, in the wire contract's values."""
    return [contract.ModelCost.model_validate(asdict(cost)) for cost in fitted_costs(models)]


def fitted_costs(models: Iterable[str]) -> tuple[ModelCost, ...]:
    """Each model in both modes, each slower than the one before; throughput batches slowed down since warm-up."""
    return tuple(cost for position, model in enumerate(models) for cost in _both_modes(model, 1.0 + 0.15 * position))


def dispatches(models: Iterable[str]) -> tuple[Dispatch, ...]:
    """Twenty batches, newest first, in turn of each model and for each reason that a batch may have."""
    names = list(models)
    return tuple(_dispatch(position, names[position % len(names)]) for position in range(20))


def _both_modes(model: str, work: float) -> tuple[ModelCost, ModelCost]:
    batches = tuple(BatchCost(size, 6.0 * size * work, 7.5 * size * work, 100 // size) for size in BATCH_SIZES)
    alone = BatchCost(1, 4.0 * work, 4.0 * work, 12)
    return (
        ModelCost(model, EngineMode.THROUGHPUT, CEILING, 0.8, batches),
        ModelCost(model, EngineMode.LATENCY, 1, 1.0, (alone,)),
    )


def _dispatch(position: int, model: str) -> Dispatch:
    reason = DispatchReason(DISPATCH_REASONS[position % len(DISPATCH_REASONS)])
    is_alone = reason is DispatchReason.LANE_FREE
    size = 1 if is_alone else BATCH_SIZES[position % 3]
    return Dispatch(
        model=model,
        mode=EngineMode.LATENCY if is_alone else EngineMode.THROUGHPUT,
        reason=reason,
        batch_size=size,
        waiting=0 if is_alone else position % 5,
        predicted_ms=7.5 * size,
        inference_ms=7.2 * size,
        ago_ms=40.0 + 700.0 * position,
    )
