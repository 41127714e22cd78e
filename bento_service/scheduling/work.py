"""What passes between callers, queue and lanes: images, batches and results."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.requests import Priority
from bento_service.domain.runner import DispatchReason, EngineMode


class Infer(Protocol):
    """A model's forward pass: uint8 (n, height, width, channels) to probabilities (n, classes).

    `infer` of each engine, see `engines.base.Engine.infer`; `pipeline/wiring.py` passes it to the scheduler.
    """

    def __call__(self, batch_nhwc: NDArray[np.uint8], mode: EngineMode, /) -> NDArray[np.float32]:
        """Classify a batch; any exception counts as the batch's failure."""


class InferWithFeatures(Protocol):
    """A model's forward pass that returns its last feature map too, see `engines.base.Engine.infer_with_features`."""

    def __call__(
        self, batch_nhwc: NDArray[np.uint8], mode: EngineMode, /
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return a batch's probabilities and its features (n, channels, rows, columns)."""


@dataclass(frozen=True, slots=True)
class Completion:
    """The result of one image.

    `scores` has shape (classes,). `features`, shape (channels, rows, columns), are None where the item did not want
    them or its model has none.
    """

    scores: NDArray[np.float32]
    batch_size: int
    reason: DispatchReason
    queue_ms: float
    inference_ms: float
    features: NDArray[np.float32] | None = None


@dataclass(slots=True, eq=False)
class WorkItem:
    """One decoded image in the scheduler.

    `pixels_hwc` is RGB or grey, uint8, 0-255. Times are in seconds on the scheduler's clock. `future` belongs to the
    scheduler's loop and gets a `Completion` or an error. A batch may mix items that want features with others. The
    scheduler alone writes the last three fields: whether a lane was idle when the image joined the queue, when a lane
    last waited instead of running it (`policy.Hold`), and how many lanes died while they ran it.
    """

    model: str
    pixels_hwc: NDArray[np.uint8]
    enqueued_s: float
    deadline_s: float | None
    future: "asyncio.Future[Completion]"
    priority: Priority = Priority.INTERACTIVE
    wants_features: bool = False
    has_found_idle_lane: bool = False
    held_s: float | None = None
    lanes_lost: int = 0

    def is_late(self, now_s: float) -> bool:
        """Tell whether its deadline has passed."""
        return self.deadline_s is not None and self.deadline_s <= now_s


@dataclass(frozen=True, slots=True)
class Batch:
    """Images that a lane runs together, at least one. `waiting` counts those left in the queue."""

    model: str
    items: tuple[WorkItem, ...]
    mode: EngineMode
    reason: DispatchReason
    waiting: int


Result = tuple[WorkItem, Completion | Exception]
"""An image with its completion or its error."""
