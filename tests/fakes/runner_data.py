"""What the fake service says of its runner: cost model, last batches, cache."""

from collections.abc import Iterable
from types import MappingProxyType

from lightbox_client.contract import BatchCost, Dispatch, ModelCost

BATCH_SIZES = (1, 2, 4, 8)
CEILING = 4
"""The largest batch of each model: those of 8 were measured at warm-up and do not run."""
DISPATCH_REASONS = ("lane_free", "backlog", "lane_free", "held", "lane_free", "bisected", "shrunk", "recovered")
CACHE = MappingProxyType(
    {
        "hit": 60.0,
        "shared": 5.0,
        "miss": 135.0,
        "recent_hit_rate": 0.325,
        "entries": 135.0,
        "bytes": 667_440.0,
    }
)


def model_costs(models: Iterable[str]) -> list[ModelCost]:
    """Each model in both modes, each slower than the one before; throughput batches slowed down since warm-up."""
    return [cost for position, model in enumerate(models) for cost in _both_modes(model, 1.0 + 0.15 * position)]


def dispatches(models: Iterable[str]) -> list[Dispatch]:
    """Twenty batches, newest first, in turn of each model and for each reason that a batch may have."""
    names = list(models)
    return [_dispatch(position, names[position % len(names)]) for position in range(20)]


def _both_modes(model: str, work: float) -> tuple[ModelCost, ModelCost]:
    batches = [
        BatchCost(batch_size=size, measured_ms=6.0 * size * work, current_ms=7.5 * size * work, samples=100 // size)
        for size in BATCH_SIZES
    ]
    alone = BatchCost(batch_size=1, measured_ms=4.0 * work, current_ms=4.0 * work, samples=12)
    return (
        ModelCost(model=model, mode="throughput", ceiling=CEILING, speed=0.8, batches=batches),
        ModelCost(model=model, mode="latency", ceiling=1, speed=1.0, batches=[alone]),
    )


def _dispatch(position: int, model: str) -> Dispatch:
    reason = DISPATCH_REASONS[position % len(DISPATCH_REASONS)]
    size = 1 if reason == "lane_free" else BATCH_SIZES[position % 3]
    return Dispatch(
        model=model,
        mode="latency" if reason == "lane_free" else "throughput",
        reason=reason,
        batch_size=size,
        waiting=0 if reason == "lane_free" else position % 5,
        predicted_ms=7.5 * size,
        inference_ms=7.2 * size,
        ago_ms=40.0 + 700.0 * position,
    )
