"""Running one batch so that a bad image fails alone."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.runner import DispatchReason
from bento_service.errors import DeadlineExceededError, InferenceFailedError, OutOfMemoryError
from bento_service.scheduling.queue import WorkQueue
from bento_service.scheduling.work import Batch, Completion, Infer, InferWithFeatures, Result, WorkItem

logger = logging.getLogger(__name__)

_MEMORY_PAUSE_S = 0.05
"""Time until an image that met out-of-memory alone is tried again: other lanes' batches end meanwhile."""


def run_batch(
    infer: Infer,
    batch: Batch,
    *,
    queue: WorkQueue,
    clock: Callable[[], float],
    pause: Callable[[float], None] = time.sleep,
    infer_with_features: InferWithFeatures | None = None,
) -> Iterator[Result]:
    """Run a batch and yield each item with its completion or its error, in order.

    A failing batch is halved until the image that makes it fail is alone. That image gets one second try, in case the
    fault was transient, and then `InferenceFailedError`. After out-of-memory smaller batches run; a lone image gets its
    second try after a `pause`, given in seconds. Cancelled images and those past their deadline are not run again.

    A batch runs by `infer_with_features`, if there is one, where an item wants its features.
    """
    return _BatchRun(infer, infer_with_features, batch, queue, clock, pause).run(batch.items, batch.reason)


@dataclass(frozen=True, slots=True)
class _BatchRun:
    infer: Infer
    infer_with_features: InferWithFeatures | None
    batch: Batch
    queue: WorkQueue
    clock: Callable[[], float]
    pause: Callable[[float], None]

    def run(
        self, items: Sequence[WorkItem], reason: DispatchReason, *, is_second_try: bool = False
    ) -> Iterator[Result]:
        started_s = self.clock()
        try:
            scores, features = self._infer_checked(items)
        # An engine may raise anything; it fails this batch alone.
        except Exception as error:  # noqa: BLE001
            yield from self._run_again(items, error, is_second_try=is_second_try)
            return
        finished_s = self.clock()
        self.queue.note_run(self.batch, len(items), reason, started_s=started_s, finished_s=finished_s)
        inference_ms = (finished_s - started_s) * 1000
        for index, item in enumerate(items):
            yield (
                item,
                Completion(
                    scores[index],
                    len(items),
                    reason,
                    queue_ms=(started_s - item.enqueued_s) * 1000,
                    inference_ms=inference_ms,
                    features=features[index] if features is not None and item.wants_features else None,
                ),
            )

    def _infer_checked(self, items: Sequence[WorkItem]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return the items' scores, and their features where one wants them and the model has them."""
        # One image needs no copy into a batch; a view of its pixels has the shape already.
        batch_nhwc = items[0].pixels_hwc[None] if len(items) == 1 else np.stack([item.pixels_hwc for item in items])
        features: NDArray[np.float32] | None = None
        if self.infer_with_features is not None and any(item.wants_features for item in items):
            scores, features = self.infer_with_features(batch_nhwc, self.batch.mode)
        else:
            scores = self.infer(batch_nhwc, self.batch.mode)
        rows = {len(scores), len(scores if features is None else features)}
        if rows != {len(items)}:
            raise InferenceFailedError(f"The model answered {min(rows)} rows for a batch of {len(items)}.")
        if not np.isfinite(scores).all():
            raise InferenceFailedError("The model's probabilities are not finite.")
        return scores, features

    def _run_again(self, items: Sequence[WorkItem], error: Exception, *, is_second_try: bool) -> Iterator[Result]:
        is_memory_short = isinstance(error, (OutOfMemoryError, MemoryError))
        note = self.queue.note_out_of_memory if is_memory_short else self.queue.note_failure
        reason = DispatchReason.SHRUNK if is_memory_short else DispatchReason.BISECTED
        is_worth_retry = note(self.batch, len(items))
        if len(items) > 1:
            cause = str(error) or type(error).__name__
            logger.warning("A batch of %d for %s failed and runs in halves: %s", len(items), self.batch.model, cause)
            middle = len(items) // 2
            for half in (items[:middle], items[middle:]):
                yield from self._run_live(half, reason)
        # A second try is the last, even where other lanes run the model well meanwhile.
        elif is_worth_retry and not is_second_try:
            if is_memory_short:
                self.pause(_MEMORY_PAUSE_S)
            yield from self._run_live(items, reason, is_second_try=True)
        else:
            yield _fail(items[0], error)

    def _run_live(
        self, items: Sequence[WorkItem], reason: DispatchReason, *, is_second_try: bool = False
    ) -> Iterator[Result]:
        now_s = self.clock()
        live = [item for item in items if not item.is_late(now_s) and not item.future.cancelled()]
        for item in items:
            if item.is_late(now_s):
                yield item, expire()
        if live:
            yield from self.run(live, reason, is_second_try=is_second_try)


def expire() -> DeadlineExceededError:
    """Make one late image's error. Each image gets its own, since an exception keeps the traceback of its raiser."""
    return DeadlineExceededError("The deadline passed while the image waited; it was dropped before any compute.")


def _fail(item: WorkItem, error: Exception) -> Result:
    logger.warning("Inference failed for one image of %s: %s", item.model, error)
    explained = InferenceFailedError(
        "The model failed on this image; no other image is affected. The server's log has the cause."
    )
    explained.__cause__ = error
    return item, explained
