"""A thread that runs one batch after the other."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from bento_service.scheduling.execution import run_batch
from bento_service.scheduling.queue import WorkQueue
from bento_service.scheduling.work import Infer, InferWithFeatures, Result, WorkItem

logger = logging.getLogger(__name__)

LANE_THREADS = "lightbox-lane"
"""Prefix of the names of lanes' threads: of Python's own threads only they may compute."""


class Lane(threading.Thread):
    """One lane. It survives failing batches; if it dies all the same, it hands back the images it had not answered."""

    def __init__(
        self,
        number: int,
        *,
        queue: WorkQueue,
        models: Mapping[str, Infer],
        with_features: Mapping[str, InferWithFeatures],
        clock: Callable[[], float],
        deliver: Callable[[Sequence[Result]], None],
        on_lost: Callable[["Lane", Sequence[WorkItem]], bool],
    ) -> None:
        """Make the lane; `start` starts it, and raises `RuntimeError` where the system has no thread left.

        Args:
            number: Its number, unique among the lanes of the queue.
            queue: Has the batches, and learns from each run.
            models: The forward pass of each model.
            with_features: The forward pass that returns features, of each model that has them.
            clock: Seconds, monotonic.
            deliver: Takes the results of a batch, from the lane's thread (`scheduler.Scheduler`).
            on_lost: Called from the lane's thread when it dies, with its unanswered images; returns whether a successor
                has taken over. Otherwise the thread works on.
        """
        super().__init__(name=f"{LANE_THREADS}-{number}", daemon=True)
        self.number = number
        self._queue = queue
        self._models = models
        self._with_features = with_features
        self._clock = clock
        self._deliver = deliver
        self._on_lost = on_lost

    def run(self) -> None:
        """Run batches until the queue is closed; `start` calls this."""
        while not self._work():
            pass

    def _work(self) -> bool:
        """Run batches until the queue is closed or one kills the lane; return whether the thread may end."""
        unanswered: Sequence[WorkItem] = ()
        results: list[Result] = []
        try:
            while batch := self._queue.take(self.number):
                unanswered = batch.items
                # `extend` takes one by one, so that the results from before a crash are kept.
                results.extend(
                    run_batch(
                        self._models[batch.model],
                        batch,
                        queue=self._queue,
                        clock=self._clock,
                        infer_with_features=self._with_features.get(batch.model),
                    )
                )
                self._deliver(results)
                # While the lane waits for its next batch, it must not keep this one's pixels alive.
                unanswered, results = (), []
                del batch
            return True
        # A library that calls `sys.exit`, or a defect of our own: the images that the lane holds must be answered.
        except BaseException:
            logger.exception("Lane %d died; the images that it held run again.", self.number)
            answered = {id(item) for item, _ in results}
            if unanswered:
                self._deliver(results)
            return self._on_lost(self, [item for item in unanswered if id(item) not in answered])
