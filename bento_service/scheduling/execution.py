"""Running one batch so that a bad image takes nobody with it."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.runner import DispatchReason, EngineMode
from bento_service.errors import DeadlineExceededError, InferenceFailedError, OutOfMemoryError
from bento_service.scheduling.work import Batch, Completion, WorkItem

logger = logging.getLogger(__name__)

_MEMORY_PAUSE_S = 0.05
"""Until an image for which memory is short alone is tried again: other lanes' batches end meanwhile."""

Result = tuple[WorkItem, Completion | Exception]


class Infer(Protocol):
    """A model's forward pass: RGB uint8 (n, height, width, 3) to probabilities (n, classes)."""

    def __call__(self, batch_nhwc: NDArray[np.uint8], mode: EngineMode, /) -> NDArray[np.float32]:
        """Classify a batch; any exception counts as the batch's failure."""


class Feedback(Protocol):
    """Who learns from the runs of batches. Called from the lanes' threads."""

    def note_run(self, batch: Batch, size: int, reason: DispatchReason, *, started_s: float, finished_s: float) -> None:
        """Take note that `size` images of a batch ran well."""

    def note_failure(self, batch: Batch, size: int) -> bool:
        """Take note that `size` images of a batch failed; return whether one alone is worth a second try."""

    def note_out_of_memory(self, batch: Batch, size: int) -> bool:
        """Take note that `size` images had too little memory; return whether one alone is worth a second try."""


def run_batch(
    infer: Infer,
    batch: Batch,
    *,
    clock: Callable[[], float],
    feedback: Feedback,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[tuple[WorkItem, Completion | Exception]]:
    """Run a batch and yield each item with its completion or its error, in order.

    A failing batch is halved until the image that makes it fail is alone. That one gets a second try and no third, for
    a fault that has passed by then, and only then `InferenceFailedError`. Where memory was short, smaller batches run,
    and an image for which it is short alone gets its second try after `pause` has passed a moment, in seconds. Who hung
    up in the meantime, or whose deadline has passed, costs no further run.
    """
    return _Bisection(infer, batch, clock, feedback, pause).run(batch.items, batch.reason)


class _Bisection:
    """One batch on its lane, down to its single images."""

    def __init__(
        self,
        infer: Infer,
        batch: Batch,
        clock: Callable[[], float],
        feedback: Feedback,
        pause: Callable[[float], None],
    ) -> None:
        self._infer = infer
        self._batch = batch
        self._clock = clock
        self._feedback = feedback
        self._pause = pause

    def run(
        self, items: Sequence[WorkItem], reason: DispatchReason, *, is_second_try: bool = False
    ) -> Iterator[Result]:
        # A second try is the last: what other lanes make of the model meanwhile must not earn an image a third.
        started_s = self._clock()
        try:
            scores = _infer_checked(self._infer, items, self._batch.mode)
        except (OutOfMemoryError, MemoryError) as error:
            is_worth_retry = self._feedback.note_out_of_memory(self._batch, len(items)) and not is_second_try
            if len(items) == 1:
                if is_worth_retry:
                    self._pause(_MEMORY_PAUSE_S)
                    yield from self._run_live(items, DispatchReason.SHRUNK, is_second_try=True)
                else:
                    yield _fail(items[0], error)
                return
            logger.warning("A batch of %d for %s met out-of-memory; it runs in halves.", len(items), self._batch.model)
            yield from self._run_halves(items, DispatchReason.SHRUNK)
            return
        # An engine may raise anything, and whatever it is belongs to this batch alone.
        except Exception as error:  # noqa: BLE001
            is_worth_retry = self._feedback.note_failure(self._batch, len(items)) and not is_second_try
            if len(items) == 1:
                if is_worth_retry:
                    yield from self._run_live(items, DispatchReason.BISECTED, is_second_try=True)
                else:
                    yield _fail(items[0], error)
                return
            logger.warning("A batch of %d for %s failed and is bisected: %s", len(items), self._batch.model, error)
            yield from self._run_halves(items, DispatchReason.BISECTED)
            return
        finished_s = self._clock()
        self._feedback.note_run(self._batch, len(items), reason, started_s=started_s, finished_s=finished_s)
        inference_ms = (finished_s - started_s) * 1000
        for item, row in zip(items, scores, strict=True):
            queue_ms = (started_s - item.enqueued_s) * 1000
            yield item, Completion(row, len(items), reason, queue_ms=queue_ms, inference_ms=inference_ms)

    def _run_halves(self, items: Sequence[WorkItem], reason: DispatchReason) -> Iterator[Result]:
        middle = len(items) // 2
        for half in (items[:middle], items[middle:]):
            yield from self._run_live(half, reason)

    def _run_live(
        self, items: Sequence[WorkItem], reason: DispatchReason, *, is_second_try: bool = False
    ) -> Iterator[Result]:
        now_s = self._clock()
        live = [item for item in items if not item.is_late(now_s) and not item.future.cancelled()]
        for item in items:
            if item.is_late(now_s):
                yield item, expire()
        if live:
            yield from self.run(live, reason, is_second_try=is_second_try)


def expire() -> DeadlineExceededError:
    """Make the error of one image that came too late; an exception keeps its raiser's traceback, so none is shared."""
    return DeadlineExceededError("The deadline passed while the image waited; it was dropped before any compute.")


def _infer_checked(infer: Infer, items: Sequence[WorkItem], mode: EngineMode) -> NDArray[np.float32]:
    # One image needs no copy into a batch; a view of its pixels has the shape already.
    batch_nhwc = items[0].pixels_hwc[None] if len(items) == 1 else np.stack([item.pixels_hwc for item in items])
    scores = infer(batch_nhwc, mode)
    if len(scores) != len(items):
        raise InferenceFailedError(f"The model answered {len(scores)} rows for a batch of {len(items)}.")
    if not np.isfinite(scores).all():
        raise InferenceFailedError("The model's probabilities are not finite.")
    return scores


def _fail(item: WorkItem, error: Exception) -> Result:
    logger.warning("Inference failed for one image of %s: %s", item.model, error)
    explained = InferenceFailedError(
        "The model failed on this image; no other image is affected. The server's log has the cause."
    )
    explained.__cause__ = error
    return item, explained
