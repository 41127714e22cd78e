import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import numpy as np
import pytest
from numpy.typing import NDArray

from bento_service.domain import DispatchReason
from bento_service.errors import DeadlineExceededError, DrainingError, InferenceFailedError
from bento_service.scheduling.execution import Infer
from bento_service.scheduling.scheduler import Scheduler
from bento_service.scheduling.work import Completion
from tests.fakes.clock import FakeClock
from tests.fakes.engine import PATIENCE_S, FakeInfer, expected_scores, make_image

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Bench:
    """A scheduler at work."""

    def __init__(self, scheduler: Scheduler, clock: FakeClock) -> None:
        self.scheduler = scheduler
        self.clock = clock

    async def submit(
        self, value: int, *, model: str = "a", deadline_s: float | None = None
    ) -> "asyncio.Task[Completion]":
        """Return once the image has joined the queue."""
        task = asyncio.create_task(self.scheduler.submit(model, make_image(value), deadline_s=deadline_s))
        await asyncio.sleep(0)
        return task

    async def occupy(self, infer: FakeInfer, value: int = 255) -> "asyncio.Task[Completion]":
        """Return once a lane is held at the closed gate of a model."""
        infer.gate.clear()
        task = await self.submit(value)
        infer.wait_for_lane()
        return task


@asynccontextmanager
async def running(models: Mapping[str, Infer], *, lanes: int = 1, ceiling: int = 8) -> AsyncIterator[Bench]:
    clock = FakeClock()
    scheduler = Scheduler(
        models,
        ceilings=dict.fromkeys(models, ceiling),
        lanes=lanes,
        clock=clock,
        loop=asyncio.get_running_loop(),
    )
    try:
        yield Bench(scheduler, clock)
    finally:
        for model in models.values():
            if isinstance(model, FakeInfer):
                model.gate.set()
        await asyncio.to_thread(scheduler.close, timeout_s=PATIENCE_S)


async def test_a_lone_image_runs_at_once_and_alone() -> None:
    async with running({"a": FakeInfer()}) as bench:
        completion = await (await bench.submit(7))
    assert np.array_equal(completion.scores, expected_scores(7))
    assert (completion.batch_size, completion.queue_ms) == (1, 0)


async def test_images_that_come_while_the_lane_is_busy_run_together_as_it_comes_free() -> None:
    infer = FakeInfer()
    async with running({"a": infer}) as bench:
        first = await bench.occupy(infer)
        others = [await bench.submit(value) for value in range(5)]
        assert bench.scheduler.waiting == 5
        infer.gate.set()
        completions = await asyncio.gather(*others)
        assert (await first).batch_size == 1
    assert infer.calls == [(255,), (0, 1, 2, 3, 4)]
    assert {completion.reason for completion in completions} == {DispatchReason.BACKLOG}


async def test_every_free_lane_is_put_to_work() -> None:
    infer = FakeInfer()
    async with running({"a": infer}, lanes=3) as bench:
        infer.gate.clear()
        tasks = [await bench.submit(value) for value in range(3)]
        for _ in tasks:
            infer.wait_for_lane()
        assert bench.scheduler.waiting == 0
        infer.gate.set()
        completions = await asyncio.gather(*tasks)
    assert [completion.batch_size for completion in completions] == [1, 1, 1]


async def test_an_image_that_is_cancelled_while_it_waits_costs_no_compute_and_no_memory() -> None:
    infer = FakeInfer()
    async with running({"a": infer}) as bench:
        await bench.occupy(infer)
        gone, kept = await bench.submit(1), await bench.submit(2)
        gone.cancel()
        await asyncio.wait([gone])
        assert bench.scheduler.waiting == 1
        infer.gate.set()
        await kept
    assert gone.cancelled()
    assert 1 not in infer.computed


async def test_an_image_that_is_cancelled_on_a_lane_harms_nobody_in_its_batch() -> None:
    infer = FakeInfer()
    async with running({"a": infer}) as bench:
        task = await bench.occupy(infer)
        task.cancel()
        await asyncio.wait([task])
        infer.gate.set()
        assert (await (await bench.submit(2))).batch_size == 1


async def test_images_whose_deadline_passes_while_they_wait_each_fail_with_their_own_error() -> None:
    infer = FakeInfer()
    async with running({"a": infer}) as bench:
        await bench.occupy(infer)
        late = [await bench.submit(value, deadline_s=bench.clock() + 1) for value in range(3)]
        bench.clock.advance(1)
        infer.gate.set()
        errors = await asyncio.gather(*late, return_exceptions=True)
    assert all(isinstance(error, DeadlineExceededError) for error in errors)
    assert len(set(map(id, errors))) == 3
    assert infer.computed == {255}


async def test_a_model_that_raises_costs_neither_its_lane_nor_the_next_image() -> None:
    infer = FakeInfer(poison=[13], error=MemoryError)
    async with running({"a": infer}) as bench:
        with pytest.raises(InferenceFailedError):
            await (await bench.submit(13))
        assert (await (await bench.submit(14))).batch_size == 1


async def test_a_model_that_answers_too_few_rows_costs_neither_its_lane_nor_the_next_image() -> None:
    def infer(batch_nhwc: NDArray[np.uint8], /) -> NDArray[np.float32]:
        return np.zeros((0, 3), dtype=np.float32)

    async with running({"broken": infer, "a": FakeInfer()}) as bench:
        with pytest.raises(InferenceFailedError):
            await (await bench.submit(1, model="broken"))
        assert (await (await bench.submit(2))).batch_size == 1


async def test_closing_finishes_what_waits() -> None:
    infer = FakeInfer()
    async with running({"a": infer}, ceiling=2) as bench:
        tasks = [await bench.occupy(infer)]
        tasks += [await bench.submit(value) for value in range(7)]
        closing = asyncio.create_task(asyncio.to_thread(bench.scheduler.close, timeout_s=PATIENCE_S))
        infer.gate.set()
        await closing
        completions = await asyncio.gather(*tasks)
    assert len(completions) == 8


async def test_a_closed_scheduler_refuses_an_image_instead_of_keeping_it_for_ever() -> None:
    async with running({"a": FakeInfer()}) as bench:
        await asyncio.to_thread(bench.scheduler.close, timeout_s=PATIENCE_S)
        with pytest.raises(DrainingError):
            await (await bench.submit(1))


async def test_what_still_waits_when_closing_gives_up_is_told_so() -> None:
    infer = FakeInfer()
    async with running({"a": infer}) as bench:
        on_lane = await bench.occupy(infer)
        waiting = await bench.submit(1)
        await asyncio.to_thread(bench.scheduler.close, timeout_s=0)
        with pytest.raises(DrainingError, match="given 0 s"):
            await waiting
        infer.gate.set()
        assert (await on_lane).batch_size == 1
    assert infer.computed == {255}


async def test_a_model_without_a_ceiling_is_refused_as_the_scheduler_is_made() -> None:
    with pytest.raises(KeyError, match="a"):
        Scheduler({"a": FakeInfer()}, ceilings={}, lanes=1, clock=FakeClock(), loop=asyncio.get_running_loop())


def test_a_lane_outlives_an_event_loop_that_closed_under_it() -> None:
    infer = FakeInfer()
    infer.gate.clear()
    loop = asyncio.new_event_loop()
    scheduler = Scheduler({"a": infer}, ceilings={"a": 1}, lanes=1, clock=FakeClock(), loop=loop)
    crashes: list[threading.ExceptHookArgs] = []
    hook, threading.excepthook = threading.excepthook, crashes.append

    async def submit_and_leave() -> None:
        task = asyncio.create_task(scheduler.submit("a", make_image(1), deadline_s=None))
        await asyncio.sleep(0)
        infer.wait_for_lane()
        task.cancel()
        await asyncio.wait([task])

    try:
        loop.run_until_complete(submit_and_leave())
        loop.close()
        infer.gate.set()
        scheduler.close(timeout_s=PATIENCE_S)
    finally:
        threading.excepthook = hook
    assert crashes == []
