"""One image's place in the queue, and what comes of it."""

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bento_service.domain import DispatchReason


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

    `pixels_hwc` is RGB, uint8, 0-255. Times are on the scheduler's clock, in seconds.
    """

    model: str
    pixels_hwc: NDArray[np.uint8]
    enqueued_s: float
    deadline_s: float | None
    future: "asyncio.Future[Completion]"
    has_found_idle_lane: bool = False

    @property
    def reason(self) -> DispatchReason:
        """Why it runs when it does."""
        return DispatchReason.LANE_FREE if self.has_found_idle_lane else DispatchReason.BACKLOG
