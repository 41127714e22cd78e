"""Lanes over a queue, seen from the event loop."""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.requests import Priority
from bento_service.domain.runner import Dispatch, DispatchReason, ModelCost
from bento_service.errors import DrainingError, InferenceFailedError
from bento_service.scheduling.dispatch_log import DispatchLog
from bento_service.scheduling.execution import Result, expire
from bento_service.scheduling.lane import Lane
from bento_service.scheduling.model_queue import RunnableModel
from bento_service.scheduling.queue import WorkQueue
from bento_service.scheduling.work import Batch, Completion, WorkItem

logger = logging.getLogger(__name__)

_MAX_LANES_LOST = 2
"""Lanes that one image may be on as they die: the second time it ran alone, so nothing else can have done it."""


class Scheduler:
    """Runs images on lanes, each a thread that takes its next batch as soon as it has finished the last.

    Answers are delivered on the one event loop that it was made for. Every image gets an answer or an error,
    unless its caller cancelled. `enqueue`, `remove` and `expect` may be called from any thread.
    """

    def __init__(
        self,
        models: Mapping[str, RunnableModel],
        *,
        lanes: int,
        target_ms: float,
        clock: Callable[[], float],
        loop: asyncio.AbstractEventLoop,
        on_lane_lost: Callable[[], None] = lambda: None,
        on_out_of_memory: Callable[[], None] = lambda: None,
    ) -> None:
        """Start the lanes.

        Args:
            models: The models by name.
            lanes: Batches in flight.
            target_ms: The latency target, of which each batch may take a share.
            clock: Seconds, monotonic.
            loop: Where answers are delivered.
            on_lane_lost: Called from a lane's thread as it dies.
            on_out_of_memory: Called from a lane's thread for each batch that met out-of-memory.
        """
        self._infers = {name: model.infer for name, model in models.items()}
        self._clock = clock
        self._loop = loop
        self._on_lane_lost = on_lane_lost
        self._on_out_of_memory = on_out_of_memory
        self._log = DispatchLog()
        self._queue = WorkQueue(
            {name: model.costs for name, model in models.items()},
            lanes=lanes,
            target_ms=target_ms,
            clock=clock,
            on_expired=self._expire,
        )
        self._lanes_changed = threading.Lock()
        self._lanes = [self._make_lane(number) for number in range(lanes)]
        for lane in self._lanes:
            lane.start()

    @property
    def waiting(self) -> int:
        """Images that no lane has taken yet."""
        return len(self._queue)

    @property
    def expected(self) -> int:
        """Images that were announced and have not come yet."""
        return self._queue.expected

    def ceilings(self) -> dict[str, int]:
        """Return the largest batch by model, as it is now."""
        return self._queue.ceilings()

    def knees(self) -> dict[str, int]:
        """Return the smallest batch by model that gains about as much as any, as it is now."""
        return self._queue.knees()

    def costs(self) -> tuple[ModelCost, ...]:
        """Return the fitted cost model of each model and mode."""
        return self._queue.costs()

    def recent_dispatches(self) -> tuple[Dispatch, ...]:
        """Return the last twenty runs, newest first."""
        return self._log.describe(self._clock())

    async def submit(
        self,
        model: str,
        pixels_hwc: NDArray[np.uint8],
        *,
        deadline_s: float | None,
        priority: Priority = Priority.INTERACTIVE,
    ) -> Completion:
        """Run one image and wait for it. Cancelling the call takes it out of the queue.

        Args:
            model: One of the models that the scheduler was given.
            pixels_hwc: RGB, 0-255, in the model's input size.
            deadline_s: On the scheduler's clock; passed before a lane is free, the image costs no compute.
            priority: Interactive images go before bulk ones.

        Raises:
            DeadlineExceededError: The deadline passed while it waited.
            DrainingError: The scheduler is closed, or gave up on what waited.
            InferenceFailedError: The model failed on this image.
        """
        item = WorkItem(model, pixels_hwc, self._clock(), deadline_s, self._loop.create_future(), priority)
        self.enqueue(item)
        try:
            return await item.future
        except asyncio.CancelledError:
            self.remove(item)
            raise

    def enqueue(self, item: WorkItem, *, was_expected: bool = False) -> None:
        """Hand in an image, for instance from the thread that decoded it. Thread-safe.

        Its future is resolved on the event loop with a `Completion` or an error, unless it is done by then.

        Args:
            item: The image; `enqueued_s` is now, on the scheduler's clock.
            was_expected: Whether `expect` has announced it; it is no longer expected then, even if this raises.

        Raises:
            DrainingError: The scheduler is closed.
        """
        self._queue.put(item, was_expected=was_expected)

    def remove(self, item: WorkItem) -> None:
        """Take out an image that nobody wants any more; without effect once a lane has it. Thread-safe."""
        self._queue.remove(item)

    def expect(self, delta: int, priority: Priority = Priority.INTERACTIVE) -> None:
        """Announce images that are being decoded, so that none is taken for alone. Thread-safe.

        Args:
            delta: How many; negative for announced ones of which nothing came.
            priority: Theirs.
        """
        self._queue.expect(delta, priority)

    @property
    def has_ended(self) -> bool:
        """Whether no lane is at work any more, so that the models may go."""
        with self._lanes_changed:
            return not any(lane.is_alive for lane in self._lanes)

    def close(self, *, timeout_s: float) -> None:
        """Let the lanes finish what waits, then stop them. Blocking: call it from a thread of its own.

        Args:
            timeout_s: After this long, what still waits fails with `DrainingError`; batches on a lane are left to end.
        """
        self._queue.close()
        give_up_s = self._clock() + timeout_s
        for number in range(len(self._lanes)):
            # A lane that dies puts its successor in its place before it ends.
            joined = None
            while joined is not (lane := self._find_lane(number)):
                if not lane.join(max(0.0, give_up_s - self._clock())):
                    break
                joined = lane
        self._deliver([(item, _give_up(timeout_s)) for item in self._queue.clear()])

    def note_run(self, batch: Batch, size: int, reason: DispatchReason, *, started_s: float, finished_s: float) -> None:
        """Learn from a run; the lanes call it."""
        inference_ms = (finished_s - started_s) * 1000
        predicted_ms = self._queue.predict_ms(batch, size)
        self._log.note(batch, size, reason, predicted_ms=predicted_ms, inference_ms=inference_ms, started_s=started_s)
        self._queue.learn(batch, size, inference_ms)

    def note_failure(self, batch: Batch, size: int) -> bool:
        """Learn from a failure; the lanes call it."""
        return self._queue.learn_failure(batch, size)

    def note_out_of_memory(self, batch: Batch, size: int) -> bool:
        """Learn from out-of-memory; the lanes call it."""
        self._on_out_of_memory()
        return self._queue.learn_out_of_memory(batch, size)

    def _make_lane(self, number: int) -> Lane:
        return Lane(
            number,
            queue=self._queue,
            models=self._infers,
            clock=self._clock,
            feedback=self,
            deliver=self._deliver,
            on_lost=self._replace,
        )

    def _replace(self, lost: Lane, items: Sequence[WorkItem]) -> bool:
        for item in items:
            item.lanes_lost += 1
        self._queue.release(lost.number)
        self._queue.put_back(item for item in items if item.lanes_lost < _MAX_LANES_LOST)
        self._deliver([(item, _blame(item)) for item in items if item.lanes_lost >= _MAX_LANES_LOST])
        self._on_lane_lost()
        successor = self._make_lane(lost.number)
        with self._lanes_changed:
            try:
                successor.start()
            except RuntimeError:
                # A fresh thread is the better one, for libraries keep state by thread; but it is not worth a lane.
                logger.warning("The system has no thread for a successor of lane %d; it works on.", lost.number)
                return False
            self._lanes[lost.number] = successor
        return True

    def _find_lane(self, number: int) -> Lane:
        """Return the lane that has this number now; it has started."""
        with self._lanes_changed:
            return self._lanes[number]

    def _expire(self, items: list[WorkItem]) -> None:
        self._deliver([(item, expire()) for item in items])

    def _deliver(self, results: Sequence[Result]) -> None:
        try:
            self._loop.call_soon_threadsafe(_resolve, results)
        except RuntimeError:
            # Only a closed loop refuses a callback, and with it went everyone who waited. The lane has to outlive it:
            # whoever closes the scheduler still joins it.
            logger.warning("The event loop is closed; %d results had nobody to go to.", len(results))


# An exception belongs to the one task that raises it, which writes its traceback into it: each image gets its own.
def _give_up(timeout_s: float) -> DrainingError:
    return DrainingError(
        f"This server stopped before the image's turn came: it was given {timeout_s:g} s to finish what waited.",
        retry_after_s=1.0,
    )


def _blame(item: WorkItem) -> InferenceFailedError:
    return InferenceFailedError(
        f"The model {item.model} ended {item.lanes_lost} lanes over this image; it is not run again. The server's log "
        "has the cause."
    )


def _resolve(results: Sequence[Result]) -> None:
    for item, outcome in results:
        if item.future.done():
            continue
        if isinstance(outcome, Completion):
            item.future.set_result(outcome)
        else:
            item.future.set_exception(outcome)
