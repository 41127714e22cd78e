"""A scheduler at work, for tests that look at it from the event loop."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from bento_service.domain.requests import Priority
from bento_service.scheduling.scheduler import Scheduler
from bento_service.scheduling.work import Completion, Infer
from tests.fakes.clock import FakeClock
from tests.fakes.engine import PATIENCE_S, FakeInfer, make_costs, make_image
from tests.fakes.scheduling import run_image


class Bench:
    """A scheduler at work."""

    def __init__(self, scheduler: Scheduler, clock: FakeClock, counts: Counter[str]) -> None:
        self.scheduler = scheduler
        self.clock = clock
        self.counts = counts

    async def submit(
        self,
        value: int,
        *,
        model: str = "a",
        deadline_s: float | None = None,
        priority: Priority = Priority.INTERACTIVE,
    ) -> "asyncio.Task[Completion]":
        """Return once the image has joined the queue."""
        submission = run_image(
            self.scheduler, model, make_image(value), deadline_s=deadline_s, priority=priority, clock=self.clock
        )
        task = asyncio.create_task(submission)
        await asyncio.sleep(0)
        return task

    async def occupy(self, infer: FakeInfer, value: int = 255) -> "asyncio.Task[Completion]":
        """Return once a lane is held at the closed gate of a model."""
        infer.gate.clear()
        task = await self.submit(value)
        infer.wait_for_lane()
        return task


@asynccontextmanager
async def running(
    models: Mapping[str, Infer], *, lanes: int = 1, ceiling: int = 8, has_latency_mode: bool = False
) -> AsyncIterator[Bench]:
    clock = FakeClock()
    counts: Counter[str] = Counter()
    scheduler = Scheduler(
        models,
        {name: make_costs(ceiling, has_latency_mode=has_latency_mode) for name in models},
        lanes=lanes,
        target_ms=1000,
        clock=clock,
        loop=asyncio.get_running_loop(),
        on_lane_lost=lambda: counts.update(["lane lost"]),
        on_out_of_memory=lambda: counts.update(["out of memory"]),
    )
    try:
        yield Bench(scheduler, clock, counts)
    finally:
        for model in models.values():
            if isinstance(model, FakeInfer):
                model.gate.set()
        await asyncio.to_thread(scheduler.close, timeout_s=PATIENCE_S)
