"""Which images run next, and whether a further one may come in. Pure functions of what is known at that instant."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QueueState:
    """One model's waiting images. `length` is at least 1; `oldest_s` is when its first image joined, on any clock."""

    model: str
    length: int
    oldest_s: float
    ceiling: int


@dataclass(frozen=True, slots=True)
class Choice:
    """Run the `size` oldest waiting images of `model` as one batch."""

    model: str
    size: int


def choose_batch(queues: Iterable[QueueState], idle_lanes: int) -> Choice | None:
    """Choose what a free lane runs next: work-conserving and first come, first served.

    The model whose first image has waited longest goes next. Its images are shared out among the idle lanes, so that
    two free lanes run half a backlog each rather than one of them all of it, up to the model's measured batch ceiling.

    Args:
        queues: Every model that has images waiting.
        idle_lanes: Lanes without work, the asking one included.

    Returns:
        None only where nothing waits.
    """
    oldest = min(queues, key=lambda queue: queue.oldest_s, default=None)
    if oldest is None:
        return None
    fair_share = math.ceil(oldest.length / max(1, idle_lanes))
    return Choice(oldest.model, max(1, min(oldest.ceiling, fair_share)))


def choose_ceiling(duration_ms: Mapping[int, float], *, budget_ms: float, tolerance: float = 0.1) -> int:
    """Choose the batch ceiling of a model from the measured duration of its batch sizes.

    The smallest batch whose throughput lies within `tolerance` of the best one's: a bigger batch makes every image in
    it wait longer, so it has to earn that. Sizes that alone take longer than `budget_ms` do not count, 1 excepted.

    Args:
        duration_ms: Duration by batch size, in milliseconds; has size 1.
        budget_ms: Longest duration that a batch may take.
        tolerance: Share of the best throughput that may be given up for a smaller batch.
    """
    affordable = {size: ms for size, ms in duration_ms.items() if size == 1 or ms <= budget_ms}
    best = max(size / ms for size, ms in affordable.items())
    return min(size for size, ms in affordable.items() if size / ms >= (1 - tolerance) * best)


def has_to_shed(predicted_wait_ms: float, *, target_ms: float, remaining_ms: float | None) -> bool:
    """Tell whether an image that would wait this long must be refused now rather than answered too late.

    Args:
        predicted_wait_ms: Time until its answer, as predicted from what is admitted already.
        target_ms: The latency target.
        remaining_ms: Time left until the client's own deadline, or None.
    """
    limit_ms = target_ms if remaining_ms is None else min(target_ms, remaining_ms)
    return predicted_wait_ms > limit_ms
