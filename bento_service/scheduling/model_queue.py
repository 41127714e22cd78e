"""One model in the queue: its waiting images by priority, its costs and the limits of its batches."""

import math
from collections import deque
from collections.abc import Callable, Mapping

from bento_service.domain.requests import Priority
from bento_service.domain.runner import EngineMode, ModelCost
from bento_service.scheduling.cost_model import CostModel
from bento_service.scheduling.policy import BATCH_SHARE, Line, choose_bounds
from bento_service.scheduling.work import WorkItem

_ARRIVAL_MEMORY_S = 0.25
"""Time after which an arrival counts for 1/e: long beside a batch, short beside a change of load."""
_FIRST_WAIT_S = 1.0
"""Time until a smaller batch after out-of-memory is doubled again; doubles with each probe that fails."""
_LONGEST_WAIT_S = 60.0
"""A minute of smaller batches costs less than an out-of-memory each second."""


class ArrivalRate:
    """Images a second, as an exponentially weighted count. Used under the queue's lock."""

    def __init__(self) -> None:
        self._count = 0.0
        self._last_s = 0.0

    def note(self, now_s: float) -> None:
        """Count one arrival."""
        self._count = self._count * math.exp(min(0.0, self._last_s - now_s) / _ARRIVAL_MEMORY_S) + 1
        self._last_s = now_s

    def per_s(self, now_s: float) -> float:
        """Return the rate as of now."""
        return self._count * math.exp(min(0.0, self._last_s - now_s) / _ARRIVAL_MEMORY_S) / _ARRIVAL_MEMORY_S


class OutOfMemoryLimit:
    """Largest batch of one model that memory has room for: `size`, at least 1. Used under the queue's lock.

    Out-of-memory halves it. After a wait it doubles as a probe; a probe that fails doubles the wait for the next.
    """

    def __init__(self, largest: int) -> None:
        self.size = largest
        self._largest = largest
        self._wait_s = _FIRST_WAIT_S
        self._probe_at_s = 0.0
        self._is_probing = False

    def shrink(self, failed_size: int, *, now_s: float) -> None:
        """Shrink after a batch that met out-of-memory."""
        # Several lanes may fail one probe; it counts once.
        if self._is_probing:
            self._wait_s = min(_LONGEST_WAIT_S, 2 * self._wait_s)
            self._is_probing = False
        self.size = max(1, min(self.size, failed_size // 2))
        self._probe_at_s = now_s + self._wait_s

    def pass_batch(self, size: int, *, now_s: float) -> None:
        """Grow after a batch that succeeded, once the wait is over."""
        if self._is_probing and size > self.size // 2:
            self._is_probing = False
            self._wait_s = _FIRST_WAIT_S
        if self.size < self._largest and now_s >= self._probe_at_s:
            self.size = min(self._largest, 2 * self.size)
            self._is_probing = True
            self._probe_at_s = now_s + self._wait_s


class FailureLimit:
    """Largest batch of one model that is worth bisecting when it fails: `size`, at least 1.

    Bisecting takes up to twice as many runs as the batch has images. Each failed batch halves the limit and each good
    one doubles it, so that a rare bad image costs little and a model that always fails costs one run an image. Used
    under the queue's lock.
    """

    def __init__(self, largest: int) -> None:
        self.size = largest
        self._largest = largest
        self._has_passed = True

    def fail_batch(self) -> None:
        """Shrink after a batch of several images that failed."""
        self.size = max(1, self.size // 2)

    def fail_image(self) -> bool:
        """Return whether an image that failed alone is worth a second try: the model has run since the last failure."""
        is_retry_worthwhile, self._has_passed = self._has_passed, False
        return is_retry_worthwhile

    def pass_run(self, *, is_whole: bool) -> None:
        """Grow after a run that succeeded, if it had all images of its batch."""
        self._has_passed = True
        if is_whole:
            self.size = min(self._largest, 2 * self.size)


class ModelQueue:
    """One model's waiting images, cost models and batch limits. Used under the queue's lock."""

    def __init__(self, name: str, costs: Mapping[EngineMode, CostModel], *, target_ms: float) -> None:
        self.name = name
        self.costs = costs
        self.waiting: dict[Priority, deque[WorkItem]] = {priority: deque() for priority in Priority}
        self._arrivals = {priority: ArrivalRate() for priority in Priority}
        largest = costs[EngineMode.THROUGHPUT].sizes[-1]
        self._memory_limit = OutOfMemoryLimit(largest)
        self._failure_limit = FailureLimit(largest)
        self._budget_ms = BATCH_SHARE * target_ms
        self.ceiling = self.knee = 1
        self._update_ceiling()

    def learn_run(self, mode: EngineMode, size: int, duration_ms: float, *, is_whole: bool, now_s: float) -> None:
        """Learn from a run; `is_whole` where it had all images of its batch."""
        self.costs[mode].learn(size, duration_ms)
        for other, cost in self.costs.items():
            if other is not mode:
                cost.follow(self.costs[mode])
        self._memory_limit.pass_batch(size, now_s=now_s)
        self._failure_limit.pass_run(is_whole=is_whole)
        self._update_ceiling()

    def learn_failure(self, size: int, *, is_whole: bool) -> bool:
        """Learn from a failed run; return whether it was a lone image that is worth a second try."""
        if size == 1:
            return self._failure_limit.fail_image()
        if is_whole:
            self._failure_limit.fail_batch()
            self._update_ceiling()
        return False

    def learn_out_of_memory(self, size: int, *, now_s: float) -> bool:
        """Learn from a run that met out-of-memory; return whether it was a lone image that is worth a second try."""
        self._memory_limit.shrink(size, now_s=now_s)
        self._update_ceiling()
        return size == 1 and self._failure_limit.fail_image()

    def add(self, item: WorkItem) -> None:
        """Add an image to the end of its line."""
        self.waiting[item.priority].append(item)
        self._arrivals[item.priority].note(item.enqueued_s)

    def lines(self, now_s: float) -> list[Line]:
        """Return what waits, as the policy takes it."""
        return [
            Line(
                self.name,
                priority,
                len(line),
                line[0].enqueued_s,
                self.ceiling,
                self.knee,
                self.costs,
                self._arrivals[priority].per_s(now_s),
            )
            for priority, line in self.waiting.items()
            if line
        ]

    def take(self, priority: Priority, size: int, *, is_live: Callable[[WorkItem], bool]) -> list[WorkItem]:
        """Take up to `size` live images off the front of a line, and drop the others before them.

        An image that a lane has died over runs alone: it may be the cause.
        """
        line = self.waiting[priority]
        taken: list[WorkItem] = []
        while line and len(taken) < size:
            if taken and line[0].lanes_lost:
                break
            item = line.popleft()
            if not is_live(item):
                continue
            taken.append(item)
            if item.lanes_lost:
                break
        return taken

    def describe(self) -> tuple[ModelCost, ...]:
        """Return the cost model of each mode."""
        return tuple(
            ModelCost(
                self.name, mode, self.ceiling if mode is EngineMode.THROUGHPUT else 1, cost.speed, cost.describe()
            )
            for mode, cost in self.costs.items()
        )

    def _update_ceiling(self) -> None:
        cost = self.costs[EngineMode.THROUGHPUT]
        knee, ceiling = choose_bounds(cost.curve_ms(), budget_ms=self._budget_ms)
        if cost.bucket_sizes:
            # A GPU's. What a turn costs there was not measured.
            ceiling = knee
        self.ceiling = min(ceiling, self._memory_limit.size, self._failure_limit.size)
        self.knee = min(knee, self.ceiling)
