"""What the scheduler knows of one model: what it costs, and how large its batches may be."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bento_service.domain.requests import Priority
from bento_service.domain.runner import EngineMode, ModelCost
from bento_service.scheduling.arrivals import ArrivalRate
from bento_service.scheduling.batch_cap import FailureLimit, OutOfMemoryLimit
from bento_service.scheduling.cost_model import CostModel
from bento_service.scheduling.execution import Infer
from bento_service.scheduling.policy import BATCH_SHARE, Line, choose_bounds
from bento_service.scheduling.work import WorkItem


@dataclass(frozen=True, slots=True)
class RunnableModel:
    """A model that lanes can run.

    `infer` may be called from all lanes at once. `costs` has a cost model for each mode that differs, `THROUGHPUT`
    always; batches are never larger than the largest size that its warm-up measured.
    """

    infer: Infer
    costs: Mapping[EngineMode, CostModel]


class ModelQueue:
    """One model's waiting images, cost models and caps. Used under the queue's lock."""

    def __init__(self, name: str, costs: Mapping[EngineMode, CostModel], *, target_ms: float) -> None:
        self.name = name
        self.costs = costs
        self.waiting: dict[Priority, deque[WorkItem]] = {priority: deque() for priority in Priority}
        self._arrivals = {priority: ArrivalRate() for priority in Priority}
        largest = costs[EngineMode.THROUGHPUT].sizes[-1]
        self.memory_cap = OutOfMemoryLimit(largest)
        self.fault_cap = FailureLimit(largest)
        self._budget_ms = BATCH_SHARE * target_ms
        self.ceiling = self.knee = 1
        self.update_ceiling()

    def update_ceiling(self) -> None:
        """Work knee and ceiling out anew, after anything that they rest on has changed."""
        cost = self.costs[EngineMode.THROUGHPUT]
        knee, ceiling = choose_bounds(cost.curve_ms(), budget_ms=self._budget_ms)
        if cost.bucket_sizes:
            # A GPU's. What a turn costs there was not measured.
            ceiling = knee
        self.ceiling = min(ceiling, self.memory_cap.size, self.fault_cap.size)
        self.knee = min(knee, self.ceiling)

    def learn(self, mode: EngineMode, batch_size: int, duration_ms: float) -> None:
        """Take note of how long a batch took in a mode."""
        self.costs[mode].learn(batch_size, duration_ms)
        for other, cost in self.costs.items():
            if other is not mode:
                cost.follow(self.costs[mode])

    def add(self, item: WorkItem) -> None:
        """Add an image to the end of its line."""
        self.waiting[item.priority].append(item)
        self._arrivals[item.priority].note(item.enqueued_s)

    def lines(self, now_s: float) -> list[Line]:
        """Return the policy's view of what waits."""
        return [
            Line(
                self.name,
                priority,
                len(line),
                line[0].enqueued_s,
                self.ceiling,
                self.knee,
                self.costs,
                line[0].reason,
                self._arrivals[priority].per_s(now_s),
            )
            for priority, line in self.waiting.items()
            if line
        ]

    def take(self, priority: Priority, size: int, *, is_live: Callable[[WorkItem], bool]) -> list[WorkItem]:
        """Take up to `size` live images off the front of a line, and every dead one before them.

        An image over which a lane has died runs alone: it may be the one that killed it.
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
        """Return the cost model of each mode, for the status page."""
        return tuple(
            ModelCost(
                self.name, mode, self.ceiling if mode is EngineMode.THROUGHPUT else 1, cost.speed, cost.describe()
            )
            for mode, cost in self.costs.items()
        )
