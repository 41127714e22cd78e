"""A thread that takes its next batch as soon as it has finished the last."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from bento_service.scheduling.execution import Feedback, Infer, Result, run_batch
from bento_service.scheduling.queue import WorkQueue
from bento_service.scheduling.work import Batch, WorkItem

logger = logging.getLogger(__name__)

LANE_THREADS = "lightbox-lane"
"""What the names of lanes' threads begin with: of Python's own threads only they may compute."""


class Lane:
    """One lane. It outlives every failing batch; if it dies all the same, it hands back what it had not answered."""

    def __init__(
        self,
        number: int,
        *,
        queue: WorkQueue,
        models: Mapping[str, Infer],
        clock: Callable[[], float],
        feedback: Feedback,
        deliver: Callable[[Sequence[Result]], None],
        on_lost: Callable[["Lane", Sequence[WorkItem]], bool],
    ) -> None:
        """Make the lane; `start` puts it to work.

        Args:
            number: Names it to the queue: as many may ask at once as the queue was told, each by a number of its own.
            queue: Where the batches come from.
            models: The forward pass of each model.
            clock: Seconds, monotonic.
            feedback: Learns from each run.
            deliver: Takes the results of a batch, from the lane's thread.
            on_lost: Called from the lane's thread as it dies, with the images that it leaves; returns whether a
                successor has taken over. Otherwise the thread works on.
        """
        self.number = number
        self._queue = queue
        self._models = models
        self._clock = clock
        self._feedback = feedback
        self._deliver = deliver
        self._on_lost = on_lost
        self._thread = threading.Thread(target=self._run, name=f"{LANE_THREADS}-{number}", daemon=True)

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: The system has no thread left.
        """
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread has started and not ended."""
        return self._thread.is_alive()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread's end; return whether it came in time."""
        self._thread.join(timeout_s)
        return not self.is_alive

    def _run(self) -> None:
        is_over = False
        while not is_over:
            is_over = self._work()

    def _work(self) -> bool:
        """Take batches until the queue has no more or one kills the lane; return whether the thread may end."""
        unanswered: Sequence[WorkItem] = ()
        results: list[Result] = []
        try:
            while batch := self._queue.take(self.number):
                unanswered = batch.items
                self._run_batch(batch, results)
                self._deliver(results)
                # While the lane waits for its next batch, it must not keep this one's pixels alive.
                unanswered, results = (), []
                del batch
            return True
        # What is no `Exception` ends threads: a library that calls `sys.exit`, or a defect of our own. Whatever it is,
        # the images that the lane holds have to be answered.
        except BaseException:
            logger.exception("Lane %d died; the images that it held run again.", self.number)
            answered = {id(item) for item, _ in results}
            if unanswered:
                self._deliver(results)
            return self._on_lost(self, [item for item in unanswered if id(item) not in answered])

    def _run_batch(self, batch: Batch, results: list[Result]) -> None:
        """Append each result as it comes, so that those which the lane had as it died are known."""
        for result in run_batch(self._models[batch.model], batch, clock=self._clock, feedback=self._feedback):
            results.append(result)
