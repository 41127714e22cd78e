"""The queue between whoever brings images and the lanes."""

import math
import threading
from collections.abc import Callable, Iterable, Mapping

from bento_service.domain.requests import Priority
from bento_service.domain.runner import DispatchReason, EngineMode, ModelCost
from bento_service.errors import DrainingError
from bento_service.scheduling.arrivals import ArrivalRate
from bento_service.scheduling.cost_model import CostModel
from bento_service.scheduling.model_queue import ModelQueue
from bento_service.scheduling.policy import Hold, Lanes, Line, Outlook, Run, decide
from bento_service.scheduling.work import Batch, WorkItem

_NOTHING_TO_COME = Outlook(0, 0, 0.0)


class WorkQueue:
    """Images waiting for a lane, first come, first served within a model and a priority. Thread-safe.

    Lanes pull: a free one takes its next batch itself, without a turn of the event loop in between.
    """

    def __init__(
        self,
        costs: Mapping[str, Mapping[EngineMode, CostModel]],
        *,
        lanes: int,
        target_ms: float,
        clock: Callable[[], float],
        on_expired: Callable[[list[WorkItem]], None],
    ) -> None:
        """Make a queue for the models that `costs` names.

        Args:
            costs: The cost models by model and mode; only the queue writes to them from now on.
            lanes: How many will take from it.
            target_ms: The latency target.
            clock: Seconds, monotonic; the clock of the items' times.
            on_expired: Called from a lane's thread with items whose deadline passed before a lane took them; the queue
                is locked meanwhile, so it must neither wait nor raise.
        """
        self._models = {name: ModelQueue(name, modes, target_ms=target_ms) for name, modes in costs.items()}
        self._lanes = lanes
        self._target_ms = target_ms
        self._clock = clock
        self._on_expired = on_expired
        self._arrivals = ArrivalRate()
        self._expected = dict.fromkeys(Priority, 0)
        self._ends_s: dict[int, float] = {}
        self._idle_lanes = 0
        self._all_busy_s = -math.inf
        self._bulk_ran_s = -math.inf
        self._held: set[tuple[str, Priority]] = set()
        self._length = 0
        self._is_closed = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return self._length

    @property
    def expected(self) -> int:
        """Images being decoded, which will join soon."""
        return sum(self._expected.values())

    def ceilings(self) -> dict[str, int]:
        """Return the largest batch by model, as it is now."""
        return {name: model.ceiling for name, model in self._models.items()}

    def knees(self) -> dict[str, int]:
        """Return the smallest batch by model that gains about as much as any, as it is now."""
        return {name: model.knee for name, model in self._models.items()}

    def costs(self) -> tuple[ModelCost, ...]:
        """Return the cost model of each model and mode."""
        with self._changed:
            return tuple(cost for model in self._models.values() for cost in model.describe())

    def put(self, item: WorkItem, *, was_expected: bool = False) -> None:
        """Add an image to the end of its line.

        Args:
            item: The image.
            was_expected: Whether it is one of those that were announced by `expect`.

        Raises:
            DrainingError: The queue is closed; no lane would ever take the image.
        """
        with self._changed:
            if was_expected:
                self._expected[item.priority] -= 1
            if self._is_closed:
                raise DrainingError("This server is shutting down and runs no more images.", retry_after_s=1.0)
            item.has_found_idle_lane = self._idle_lanes > self._length
            self._models[item.model].add(item)
            self._length += 1
            self._arrivals.note(item.enqueued_s)
            self._changed.notify()

    def expect(self, delta: int, priority: Priority) -> None:
        """Announce images that are being decoded, or, by a negative number, that none will come of some."""
        with self._changed:
            self._expected[priority] += delta
            if self._held and delta < 0:
                self._changed.notify()

    def put_back(self, items: Iterable[WorkItem]) -> None:
        """Return images to where they were in their line: their lane has died. A closed queue takes them too."""
        with self._changed:
            for item in reversed(list(items)):
                line = self._models[item.model].waiting[item.priority]
                # At the front, but for those that another dead lane has returned.
                later = (index for index, other in enumerate(line) if other.enqueued_s >= item.enqueued_s)
                line.insert(next(later, len(line)), item)
                self._length += 1
            self._changed.notify_all()

    def remove(self, item: WorkItem) -> None:
        """Take an image that nobody wants any more out of its line; without effect once a lane has it.

        At once, not when its turn comes: while the lanes are busy, clients that come and hang up must not pile up.
        """
        with self._changed:
            line = self._models[item.model].waiting[item.priority]
            if item in line:
                line.remove(item)
                self._length -= 1
                if not line:
                    self._held.discard((item.model, item.priority))

    def take(self, lane: int) -> Batch | None:
        """Wait for work and take a batch for a lane whose last one is over; None once all is done and closed."""
        with self._changed:
            self._ends_s.pop(lane, None)
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
                        self._held.add((decision.model, decision.priority))
                        self._changed.wait(decision.until_s - now_s)
                    elif batch := self._take_live(decision, now_s):
                        predicted_ms = self.predict_ms(batch)
                        self._ends_s[lane] = now_s + predicted_ms / 1000
                        if self._idle_lanes == 1:
                            self._note_all_busy(now_s)
                        return batch
            finally:
                self._idle_lanes -= 1

    def release(self, lane: int) -> None:
        """Forget a lane that has died and asks no more."""
        with self._changed:
            self._ends_s.pop(lane, None)

    def predict_ms(self, batch: Batch, size: int | None = None) -> float:
        """Predict how long a batch takes, or `size` images of it."""
        return self._models[batch.model].costs[batch.mode].predict_ms(size or len(batch.items))

    def learn(self, batch: Batch, size: int, duration_ms: float) -> None:
        """Take note of how long `size` images of a batch took."""
        with self._changed:
            model = self._models[batch.model]
            model.learn(batch.mode, size, duration_ms)
            model.memory_cap.pass_batch(size, now_s=self._clock())
            model.fault_cap.pass_run(is_whole=size == len(batch.items))
            model.update_ceiling()

    def learn_failure(self, batch: Batch, size: int) -> bool:
        """Take note that `size` images of a batch failed; return whether one alone is worth a second try."""
        with self._changed:
            model = self._models[batch.model]
            if size == 1:
                return model.fault_cap.fail_image()
            if size == len(batch.items):
                model.fault_cap.fail_batch()
                model.update_ceiling()
            return False

    def learn_out_of_memory(self, batch: Batch, size: int) -> bool:
        """Take note that `size` images of a batch had too little memory; return whether one is worth a second try."""
        with self._changed:
            model = self._models[batch.model]
            model.memory_cap.shrink(size, now_s=self._clock())
            model.update_ceiling()
            return size == 1 and model.fault_cap.fail_image()

    def close(self) -> None:
        """Take no more images, and let lanes go as soon as nothing waits."""
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
            self._held.clear()
            return items

    def _decide(self, idle_since_s: float, now_s: float) -> Run | Hold | None:
        if not self._length:
            return None
        lines: list[Line] = []
        for model in self._models.values():
            lines += model.lines(now_s)
        lanes = Lanes(self._lanes, self._idle_lanes, list(self._ends_s.values()), idle_since_s, self._bulk_ran_s)
        outlook = _NOTHING_TO_COME if self._is_closed else self._look_out(now_s)
        return decide(lines, lanes, outlook, target_ms=self._target_ms, now_s=now_s)

    def _look_out(self, now_s: float) -> Outlook:
        return Outlook(self.expected, self._expected[Priority.INTERACTIVE], self._arrivals.per_s(now_s))

    def _take_live(self, run: Run, now_s: float) -> Batch | None:
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
        was_held = (run.model, run.priority) in self._held
        self._held.discard((run.model, run.priority))
        if expired:
            self._on_expired(expired)
        if not items:
            return None
        if run.priority is Priority.BULK:
            self._bulk_ran_s = now_s
        reason = items[0].reason
        if reason is DispatchReason.LANE_FREE and items[0].enqueued_s < self._all_busy_s:
            reason = DispatchReason.BACKLOG
        if was_held and reason is not DispatchReason.RECOVERED:
            reason = DispatchReason.HELD
        return Batch(run.model, tuple(items), run.mode, reason, waiting=self._length)

    def _note_all_busy(self, now_s: float) -> None:
        """Count what still waits as backlog: an idle lane that it found, or that held it, has taken other work."""
        self._all_busy_s = now_s
        self._held.clear()
