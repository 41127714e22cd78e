"""Work items outside any event loop, and a caller of the scheduler whose image is decoded already."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.requests import Priority
from bento_service.domain.runner import DispatchReason, EngineMode
from bento_service.scheduling.scheduler import Scheduler
from bento_service.scheduling.work import Batch, Completion, WorkItem
from tests.fakes.engine import make_image


class NoLoop:
    """A loop for futures that nobody waits for."""

    def get_debug(self) -> bool:
        return False


def make_item(
    value: int = 0,
    *,
    model: str = "a",
    enqueued_s: float = 0.0,
    deadline_s: float | None = None,
    priority: Priority = Priority.INTERACTIVE,
    wants_features: bool = False,
) -> WorkItem:
    loop = cast("asyncio.AbstractEventLoop", NoLoop())
    future: asyncio.Future[Completion] = asyncio.Future(loop=loop)
    return WorkItem(model, make_image(value), enqueued_s, deadline_s, future, priority, wants_features)


def make_batch(items: Sequence[WorkItem]) -> Batch:
    return Batch(items[0].model, tuple(items), EngineMode.THROUGHPUT, DispatchReason.BACKLOG, waiting=0)


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
