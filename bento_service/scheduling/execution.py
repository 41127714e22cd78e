"""Running one batch so that a bad image takes nobody with it."""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bento_service.domain import DispatchReason
from bento_service.errors import InferenceFailedError
from bento_service.scheduling.work import Completion, WorkItem

logger = logging.getLogger(__name__)

Result = tuple[WorkItem, Completion | Exception]


class Infer(Protocol):
    """A model's forward pass: RGB uint8 (n, height, width, 3) to probabilities (n, classes)."""

    def __call__(self, batch_nhwc: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """Classify a batch; any exception counts as the batch's failure."""


def run_batch(infer: Infer, items: Sequence[WorkItem], *, clock: Callable[[], float]) -> Iterator[Result]:
    """Run a batch and yield each item with its completion or its error, in order.

    A failing batch is halved until the image that makes it fail is alone: only that one gets `InferenceFailedError`.
    """
    return _run(infer, items, clock=clock, is_retry=False)


def _run(infer: Infer, items: Sequence[WorkItem], *, clock: Callable[[], float], is_retry: bool) -> Iterator[Result]:
    started_s = clock()
    try:
        scores = _infer_checked(infer, items)
    # An engine may raise anything, and whatever it is belongs to this batch alone.
    except Exception as error:  # noqa: BLE001
        if len(items) == 1:
            logger.warning("Inference failed for one image of %s: %s", items[0].model, error)
            yield items[0], _explain(error)
            return
        logger.warning("A batch of %d for %s failed and is bisected: %s", len(items), items[0].model, error)
        middle = len(items) // 2
        yield from _run(infer, items[:middle], clock=clock, is_retry=True)
        yield from _run(infer, items[middle:], clock=clock, is_retry=True)
        return
    finished_s = clock()
    for item, row in zip(items, scores, strict=True):
        yield (
            item,
            Completion(
                scores=row,
                batch_size=len(items),
                reason=DispatchReason.BISECTED if is_retry else item.reason,
                queue_ms=(started_s - item.enqueued_s) * 1000,
                inference_ms=(finished_s - started_s) * 1000,
            ),
        )


def _infer_checked(infer: Infer, items: Sequence[WorkItem]) -> NDArray[np.float32]:
    # One image needs no copy into a batch; a view of its pixels has the shape already.
    batch_nhwc = items[0].pixels_hwc[None] if len(items) == 1 else np.stack([item.pixels_hwc for item in items])
    scores = infer(batch_nhwc)
    if len(scores) != len(items):
        raise InferenceFailedError(f"The model answered {len(scores)} rows for a batch of {len(items)}.")
    if not np.isfinite(scores).all():
        raise InferenceFailedError("The model's probabilities are not finite.")
    return scores


def _explain(error: Exception) -> InferenceFailedError:
    explained = InferenceFailedError(
        "The model failed on this image; no other image is affected. The server's log has the cause."
    )
    explained.__cause__ = error
    return explained
