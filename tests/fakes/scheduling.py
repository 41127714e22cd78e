"""Runs an image that is already decoded."""

import asyncio
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.requests import Priority
from bento_service.scheduling.scheduler import Scheduler
from bento_service.scheduling.work import Completion, WorkItem


async def run_image(
    scheduler: Scheduler,
    model: str,
    pixels_hwc: NDArray[np.uint8],
    *,
    deadline_s: float | None = None,
    priority: Priority = Priority.INTERACTIVE,
    clock: Callable[[], float] = time.perf_counter,
) -> Completion:
    """Run one image and wait for it; cancelling removes it from the queue."""
    arrival = scheduler.queue.expect(priority)
    item = WorkItem(model, pixels_hwc, clock(), deadline_s, asyncio.get_running_loop().create_future(), priority)
    try:
        scheduler.queue.add(arrival, item)
        return await item.future
    except asyncio.CancelledError:
        scheduler.queue.withdraw(arrival)
        raise
