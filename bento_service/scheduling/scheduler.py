"""Lanes over a queue, seen from the event loop."""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bento_service.errors import DeadlineExceededError, DrainingError
from bento_service.scheduling.execution import Infer, Result, run_batch
from bento_service.scheduling.queue import WorkQueue
from bento_service.scheduling.work import Completion, WorkItem

logger = logging.getLogger(__name__)


class Scheduler:
    """Runs images on lanes, each a thread that takes its next batch as soon as it has finished the last.

    Made and used on one event loop. Every submitted image gets an answer or an error, unless its caller cancelled.
    """

    def __init__(
        self,
        models: Mapping[str, Infer],
        *,
        ceilings: Mapping[str, int],
        lanes: int,
        clock: Callable[[], float],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Start the lanes.

        Args:
            models: The forward pass of each model, callable from `lanes` threads at once.
            ceilings: Largest batch, by model.
            lanes: Batches in flight.
            clock: Seconds, monotonic.
            loop: Where answers are delivered.
        """
        self._models = models
        self._clock = clock
        self._loop = loop
        self._queue = WorkQueue({model: ceilings[model] for model in models}, clock=clock, on_expired=self._expire)
        self._lanes = [
            threading.Thread(target=self._run_lane, name=f"lightbox-lane-{number}", daemon=True)
            for number in range(lanes)
        ]
        for lane in self._lanes:
            lane.start()

    @property
    def waiting(self) -> int:
        """Images that no lane has taken yet."""
        return len(self._queue)

    async def submit(self, model: str, pixels_hwc: NDArray[np.uint8], *, deadline_s: float | None) -> Completion:
        """Run one image and wait for it. Cancelling the call takes it out of the queue.

        Args:
            model: One of the models that the scheduler was given.
            pixels_hwc: RGB, 0-255, in the model's input size.
            deadline_s: On the scheduler's clock; passed before a lane is free, the image costs no compute.

        Raises:
            DeadlineExceededError: The deadline passed while it waited.
            DrainingError: The scheduler is closed, or gave up on what waited.
            InferenceFailedError: The model failed on this image.
        """
        item = WorkItem(model, pixels_hwc, self._clock(), deadline_s, self._loop.create_future())
        self._queue.put(item)
        try:
            return await item.future
        except asyncio.CancelledError:
            self._queue.remove(item)
            raise

    def close(self, *, timeout_s: float) -> None:
        """Let the lanes finish what waits, then stop them. Blocking: call it from a thread of its own.

        Args:
            timeout_s: After this long, what still waits fails with `DrainingError`; batches on a lane are left to end.
        """
        self._queue.close()
        give_up_s = self._clock() + timeout_s
        for lane in self._lanes:
            lane.join(max(0.0, give_up_s - self._clock()))
        self._deliver([(item, _gave_up(timeout_s)) for item in self._queue.clear()])

    def _run_lane(self) -> None:
        while items := self._queue.take():
            results = run_batch(self._models[items[0].model], items, clock=self._clock)
            self._deliver(list(results))

    def _expire(self, items: list[WorkItem]) -> None:
        self._deliver([(item, _expired()) for item in items])

    def _deliver(self, results: Sequence[Result]) -> None:
        try:
            self._loop.call_soon_threadsafe(_resolve, results)
        except RuntimeError:
            # Only a closed loop refuses a callback, and with it went everyone who waited. The lane has to outlive it:
            # whoever closes the scheduler still joins it.
            logger.warning("The event loop is closed; %d results had nobody to go to.", len(results))


# An exception belongs to the one task that raises it, which writes its traceback into it: each image gets its own.
def _expired() -> DeadlineExceededError:
    return DeadlineExceededError("The deadline passed while the image waited; it was dropped before any compute.")


def _gave_up(timeout_s: float) -> DrainingError:
    return DrainingError(
        f"This server stopped before the image's turn came: it was given {timeout_s:g} s to finish what waited.",
        retry_after_s=1.0,
    )


def _resolve(results: Sequence[Result]) -> None:
    for item, outcome in results:
        if item.future.done():
            continue
        if isinstance(outcome, Completion):
            item.future.set_result(outcome)
        else:
            item.future.set_exception(outcome)
