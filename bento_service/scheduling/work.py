"""One image's place in the queue, and what comes of it."""

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.requests import Priority
from bento_service.domain.runner import DispatchReason, EngineMode


@dataclass(frozen=True, slots=True)
class Completion:
    """What a lane made of one image. `scores` has shape (classes,)."""

    scores: NDArray[np.float32]
    batch_size: int
    reason: DispatchReason
    queue_ms: float
    inference_ms: float


@dataclass(slots=True, eq=False)
class WorkItem:
    """One image on its way through the scheduler.

    `pixels_hwc` is RGB, uint8, 0-255. Times are on the scheduler's clock, in seconds. `future` belongs to the
    scheduler's loop. The scheduler alone writes the last two: whether a lane was idle as the image came, and how many
    lanes died over it.
    """

    model: str
    pixels_hwc: NDArray[np.uint8]
    enqueued_s: float
    deadline_s: float | None
    future: "asyncio.Future[Completion]"
    priority: Priority = Priority.INTERACTIVE
    has_found_idle_lane: bool = False
    lanes_lost: int = 0

    @property
    def reason(self) -> DispatchReason:
        """Why it runs when it does, if nobody held it."""
        if self.lanes_lost:
            return DispatchReason.RECOVERED
        return DispatchReason.LANE_FREE if self.has_found_idle_lane else DispatchReason.BACKLOG

    def is_late(self, now_s: float) -> bool:
        """Tell whether its deadline has passed."""
        return self.deadline_s is not None and self.deadline_s <= now_s


@dataclass(frozen=True, slots=True)
class Batch:
    """Images that a lane runs together, at least one, and why now. `waiting` counts those left in the queue."""

    model: str
    items: tuple[WorkItem, ...]
    mode: EngineMode
    reason: DispatchReason
    waiting: int
