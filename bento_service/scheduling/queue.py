"""The queue between the decode threads and the lanes."""

import math
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from bento_service.domain.requests import Priority
from bento_service.domain.runner import Dispatch, DispatchReason, EngineMode, ModelCost
from bento_service.errors import DrainingError
from bento_service.scheduling.cost_model import CostModel
from bento_service.scheduling.model_queue import ArrivalRate, ModelQueue
from bento_service.scheduling.policy import Hold, Lanes, Line, Outlook, Run, decide
from bento_service.scheduling.work import Batch, WorkItem

_NOTHING_TO_COME = Outlook(0, 0, 0.0)
_RECENT_DISPATCHES = 20


@dataclass(slots=True, eq=False)
class Arrival:
    """An image that is being decoded and will join the queue. `item` is the image once it has; the queue writes it."""

    priority: Priority
    item: WorkItem | None = None


class WorkQueue:
    """Images that wait for a lane, first come, first served within a model and a priority. Thread-safe.

    A free `lane.Lane` calls `take` for its next batch, without a turn of the event loop; `execution.run_batch` then
    reports the run. Models may come and go while lanes take.
    """

    def __init__(
        self,
        costs: Mapping[str, Mapping[EngineMode, CostModel]],
        *,
        lanes: int,
        target_ms: float,
        clock: Callable[[], float],
        on_expired: Callable[[list[WorkItem]], None],
        on_out_of_memory: Callable[[], None] = lambda: None,
    ) -> None:
        """Make a queue for the models that `costs` names.

        Args:
            costs: The cost models by model and mode; only the queue writes to them from now on.
            lanes: How many will take from it.
            target_ms: The latency target.
            clock: Seconds, monotonic; the clock of the items' times.
            on_expired: Called from a lane's thread with items whose deadline passed before a lane took them; the queue
                is locked meanwhile, so it must neither wait nor raise.
            on_out_of_memory: Called from a lane's thread for each batch that met out-of-memory.
        """
        self._models = {name: ModelQueue(name, modes, target_ms=target_ms) for name, modes in costs.items()}
        self._running: dict[int, ModelQueue] = {}
        self._lanes = lanes
        self._target_ms = target_ms
        self._clock = clock
        self._on_expired = on_expired
        self._on_out_of_memory = on_out_of_memory
        self._arrivals = ArrivalRate()
        self._expected: dict[Priority, set[Arrival]] = {priority: set() for priority in Priority}
        self._ends_s: dict[int, float] = {}
        self._idle_lanes = 0
        self._all_busy_s = -math.inf
        self._bulk_ran_s = -math.inf
        self._length = 0
        self._recent: deque[tuple[float, Dispatch]] = deque(maxlen=_RECENT_DISPATCHES)
        self._is_closed = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return self._length

    @property
    def expected(self) -> int:
        """Images being decoded, which will join soon."""
        return sum(map(len, self._expected.values()))

    def ceilings(self) -> dict[str, int]:
        """Return the current largest batch by model."""
        with self._changed:
            return {name: model.ceiling for name, model in self._models.items()}

    def knees(self) -> dict[str, int]:
        """Return the current knee by model, see `policy.choose_bounds`."""
        with self._changed:
            return {name: model.knee for name, model in self._models.items()}

    def add_model(self, name: str, costs: Mapping[EngineMode, CostModel]) -> None:
        """Take images of one more model from now on.

        Raises:
            ValueError: The queue has a model of this name.
        """
        with self._changed:
            if name in self._models:
                raise ValueError(f"The queue has the model {name!r} already.")
            self._models[name] = ModelQueue(name, costs, target_ms=self._target_ms)

    def remove_model(self, name: str) -> bool:
        """Forget a model of which no image comes any more; return False, and keep it, while one waits or runs."""
        with self._changed:
            model = self._models[name]
            if any(model.waiting.values()) or model in self._running.values():
                return False
            del self._models[name]
            return True

    def costs(self) -> tuple[ModelCost, ...]:
        """Return the cost model of each model and mode."""
        with self._changed:
            return tuple(cost for model in self._models.values() for cost in model.describe())

    def recent_dispatches(self) -> tuple[Dispatch, ...]:
        """Return the last twenty runs, newest first."""
        now_s = self._clock()
        with self._changed:
            recent = tuple(self._recent)
        return tuple(replace(dispatch, ago_ms=(now_s - started_s) * 1000) for started_s, dispatch in reversed(recent))

    def expect(self, priority: Priority = Priority.INTERACTIVE) -> Arrival:
        """Count an image that is being decoded, so that the policy does not run another as a lone one."""
        arrival = Arrival(priority)
        with self._changed:
            self._expected[priority].add(arrival)
        return arrival

    def add(self, arrival: Arrival, item: WorkItem) -> None:
        """Add an expected image to the end of its line; without effect if it was withdrawn.

        Args:
            arrival: From `expect`, not added yet.
            item: The image, of the same priority; `enqueued_s` is now.

        Raises:
            DrainingError: The queue is closed, so no lane would ever take the image.
        """
        with self._changed:
            expected = self._expected[arrival.priority]
            if arrival not in expected:
                return
            expected.remove(arrival)
            if self._is_closed:
                raise DrainingError("This server is shutting down and runs no more images.", retry_after_s=1.0)
            arrival.item = item
            item.has_found_idle_lane = self._idle_lanes > self._length
            self._models[item.model].add(item)
            self._length += 1
            self._arrivals.note(item.enqueued_s)
            self._changed.notify()

    def withdraw(self, arrival: Arrival) -> None:
        """Take an image back, whether expected or waiting; without effect once a lane has it.

        A waiting image leaves at once and not when its turn comes: while the lanes are busy, images of clients that
        disconnect must not pile up.
        """
        with self._changed:
            expected, item = self._expected[arrival.priority], arrival.item
            if arrival in expected:
                expected.remove(arrival)
                # A lane may hold bulk work for this image.
                self._changed.notify()
            elif item is not None and item in (line := self._models[item.model].waiting[item.priority]):
                line.remove(item)
                self._length -= 1

    def put_back(self, lane: int, items: Sequence[WorkItem]) -> None:
        """Return the images of a lane that died to their former place. A closed queue takes them too."""
        with self._changed:
            self._end_batch(lane)
            for item in reversed(items):
                line = self._models[item.model].waiting[item.priority]
                # At the front, but for those that another dead lane has returned.
                later = (index for index, other in enumerate(line) if other.enqueued_s >= item.enqueued_s)
                line.insert(next(later, len(line)), item)
                self._length += 1
            self._changed.notify_all()

    def take(self, lane: int) -> Batch | None:
        """Wait for work and take a batch for a lane whose last one is over; None once the queue is closed and empty."""
        with self._changed:
            self._end_batch(lane)
            self._idle_lanes += 1
            idle_since_s = self._clock()
            try:
                while True:
                    now_s = self._clock()
                    decision = self._decide(idle_since_s, now_s)
                    if decision is None:
                        if self._is_closed:
                            return None
                        self._changed.wait()
                    elif isinstance(decision, Hold):
                        for item in self._models[decision.model].waiting[decision.priority]:
                            item.held_s = now_s
                        self._changed.wait(decision.until_s - now_s)
                    elif batch := self._take_batch(decision, now_s):
                        model = self._running[lane] = self._models[batch.model]
                        self._ends_s[lane] = now_s + model.costs[batch.mode].predict_ms(len(batch.items)) / 1000
                        if self._idle_lanes == 1:
                            self._all_busy_s = now_s
                        return batch
            finally:
                self._idle_lanes -= 1

    def note_run(self, batch: Batch, size: int, reason: DispatchReason, *, started_s: float, finished_s: float) -> None:
        """Learn from a run of `size` images of a batch, and keep it for `recent_dispatches`."""
        inference_ms = (finished_s - started_s) * 1000
        with self._changed:
            model = self._models[batch.model]
            predicted_ms = model.costs[batch.mode].predict_ms(size)
            model.learn_run(batch.mode, size, inference_ms, is_whole=size == len(batch.items), now_s=finished_s)
            dispatch = Dispatch(
                batch.model, batch.mode, reason, size, batch.waiting, predicted_ms, inference_ms, ago_ms=0.0
            )
            self._recent.append((started_s, dispatch))

    def note_failure(self, batch: Batch, size: int) -> bool:
        """Learn that `size` images of a batch failed; return whether a lone one is worth a second try."""
        with self._changed:
            return self._models[batch.model].learn_failure(size, is_whole=size == len(batch.items))

    def note_out_of_memory(self, batch: Batch, size: int) -> bool:
        """Learn that memory was short for `size` images; return whether a lone one is worth a second try."""
        self._on_out_of_memory()
        with self._changed:
            return self._models[batch.model].learn_out_of_memory(size, now_s=self._clock())

    def close(self) -> None:
        """Take no more images, and end each lane's `take` once nothing waits."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def clear(self) -> list[WorkItem]:
        """Take out everything that waits, for no lane to run."""
        with self._changed:
            lines = [line for model in self._models.values() for line in model.waiting.values()]
            items = [item for line in lines for item in line]
            for line in lines:
                line.clear()
            self._length = 0
            return items

    def _end_batch(self, lane: int) -> None:
        self._ends_s.pop(lane, None)
        self._running.pop(lane, None)

    def _decide(self, idle_since_s: float, now_s: float) -> Run | Hold | None:
        if not self._length:
            return None
        lines: list[Line] = []
        for model in self._models.values():
            lines += model.lines(now_s)
        lanes = Lanes(self._lanes, self._idle_lanes, list(self._ends_s.values()), idle_since_s, self._bulk_ran_s)
        outlook = _NOTHING_TO_COME
        if not self._is_closed:
            interactive = len(self._expected[Priority.INTERACTIVE])
            outlook = Outlook(self.expected, interactive, self._arrivals.per_s(now_s))
        return decide(lines, lanes, outlook, target_ms=self._target_ms, now_s=now_s)

    def _take_batch(self, run: Run, now_s: float) -> Batch | None:
        model = self._models[run.model]
        line = model.waiting[run.priority]
        length = len(line)
        expired: list[WorkItem] = []

        def is_live(item: WorkItem) -> bool:
            if item.future.cancelled():
                return False
            if item.is_late(now_s):
                expired.append(item)
                return False
            return True

        items = model.take(run.priority, run.size, is_live=is_live)
        self._length -= length - len(line)
        if expired:
            self._on_expired(expired)
        if not items:
            return None
        if run.priority is Priority.BULK:
            self._bulk_ran_s = now_s
        return Batch(run.model, tuple(items), run.mode, self._reason_for(items[0]), waiting=self._length)

    def _reason_for(self, item: WorkItem) -> DispatchReason:
        if item.lanes_lost:
            return DispatchReason.RECOVERED
        # Once all lanes are busy, whatever waits is backlog: the lane that it found, or that held it, took other work.
        if item.held_s is not None and item.held_s >= self._all_busy_s:
            return DispatchReason.HELD
        if item.has_found_idle_lane and item.enqueued_s >= self._all_busy_s:
            return DispatchReason.LANE_FREE
        return DispatchReason.BACKLOG
