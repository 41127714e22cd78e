import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import numpy as np
import pytest
from numpy.typing import NDArray

from bento_service.domain import DispatchReason, EngineMode, Priority
from bento_service.errors import DeadlineExceededError, DrainingError, InferenceFailedError, OutOfMemoryError
from bento_service.scheduling.execution import Infer
from bento_service.scheduling.scheduler import Scheduler
from bento_service.scheduling.work import Completion, WorkItem
from tests.fakes.clock import FakeClock
from tests.fakes.engine import PATIENCE_S, FakeInfer, LaneKilledError, expected_scores, make_image, make_model

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


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
        submission = self.scheduler.submit(model, make_image(value), deadline_s=deadline_s, priority=priority)
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
        {name: make_model(infer, ceiling=ceiling, has_latency_mode=has_latency_mode) for name, infer in models.items()},
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
    def infer(batch_nhwc: NDArray[np.uint8], mode: EngineMode, /) -> NDArray[np.float32]:
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


def test_a_lane_outlives_an_event_loop_that_closed_under_it() -> None:
    infer = FakeInfer()
    infer.gate.clear()
    loop = asyncio.new_event_loop()
    scheduler = Scheduler({"a": make_model(infer, ceiling=1)}, lanes=1, target_ms=1000, clock=FakeClock(), loop=loop)
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


async def test_a_lone_image_gets_every_thread_and_those_who_come_meanwhile_start_at_once_beside_it() -> None:
    infer = FakeInfer()
    async with running({"a": infer}, lanes=2, has_latency_mode=True) as bench:
        alone = await bench.occupy(infer)
        beside = await bench.submit(1)
        infer.wait_for_lane()
        infer.gate.set()
        completions = await asyncio.gather(alone, beside)
    assert infer.modes == [EngineMode.LATENCY, EngineMode.THROUGHPUT]
    assert [completion.reason for completion in completions] == [DispatchReason.LANE_FREE] * 2


async def test_an_image_is_not_alone_while_another_is_being_decoded() -> None:
    infer = FakeInfer()
    async with running({"a": infer}, has_latency_mode=True) as bench:
        bench.scheduler.expect(1)
        await (await bench.submit(1))
        bench.scheduler.expect(-1)
        await (await bench.submit(2))
    assert infer.modes == [EngineMode.THROUGHPUT, EngineMode.LATENCY]


async def test_an_image_may_be_handed_in_from_the_thread_that_decoded_it() -> None:
    async with running({"a": FakeInfer()}) as bench:
        future = asyncio.get_running_loop().create_future()
        item = WorkItem("a", make_image(7), bench.clock(), None, future)
        bench.scheduler.expect(1)
        await asyncio.to_thread(bench.scheduler.enqueue, item, was_expected=True)
        completion = await future
        assert bench.scheduler.expected == 0
    assert np.array_equal(completion.scores, expected_scores(7))


async def test_an_interactive_image_that_comes_after_bulk_ones_runs_before_them() -> None:
    infer = FakeInfer()
    async with running({"a": infer}) as bench:
        await bench.occupy(infer)
        bulk = [await bench.submit(value, priority=Priority.BULK) for value in (1, 2)]
        interactive = await bench.submit(3)
        infer.gate.set()
        await asyncio.gather(*bulk, interactive)
    assert infer.calls == [(255,), (3,), (1, 2)]


async def test_the_images_of_a_lane_that_dies_run_again_on_its_successor() -> None:
    fatal = [True]

    def die_once(size: int) -> None:
        if fatal.pop() if fatal else False:
            raise LaneKilledError

    async with running({"a": FakeInfer(on_call=die_once)}) as bench:
        completion = await (await bench.submit(1))
        again = await (await bench.submit(2))
    assert completion.reason is DispatchReason.RECOVERED
    assert again.reason is not DispatchReason.RECOVERED
    assert bench.counts["lane lost"] == 1


async def test_an_image_that_kills_a_second_lane_fails_and_its_neighbours_do_not() -> None:
    infer = FakeInfer(poison=[13], error=LaneKilledError)
    async with running({"a": infer}) as bench:
        await bench.occupy(infer)
        tasks = [await bench.submit(value) for value in (12, 13, 14)]
        infer.gate.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert (await (await bench.submit(15))).batch_size == 1
    assert isinstance(outcomes[1], InferenceFailedError)
    assert "ended 2 lanes" in outcomes[1].message
    assert [type(outcome) for outcome in (outcomes[0], outcomes[2])] == [Completion] * 2
    assert bench.counts["lane lost"] == 2


async def test_closing_waits_for_the_successor_of_a_lane_that_dies_meanwhile() -> None:
    infer = FakeInfer(poison=[13], error=LaneKilledError)
    async with running({"a": infer}) as bench:
        infer.gate.clear()
        culprit = await bench.submit(13)
        infer.wait_for_lane()
        waiting = await bench.submit(1)
        closing = asyncio.create_task(asyncio.to_thread(bench.scheduler.close, timeout_s=PATIENCE_S))
        infer.gate.set()
        await closing
        outcomes = await asyncio.gather(culprit, waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [InferenceFailedError, Completion]


async def test_a_batch_that_met_out_of_memory_is_answered_in_smaller_ones_and_the_ceiling_follows() -> None:
    def check(size: int) -> None:
        if size > 2:
            raise OutOfMemoryError(f"no memory for {size}")

    infer = FakeInfer(on_call=check)
    async with running({"a": infer}) as bench:
        await bench.occupy(infer)
        tasks = [await bench.submit(value) for value in range(8)]
        infer.gate.set()
        completions = await asyncio.gather(*tasks)
        assert bench.scheduler.ceilings() == {"a": 2}
    assert {completion.reason for completion in completions} == {DispatchReason.SHRUNK}
    assert bench.counts["out of memory"] == 3


async def test_the_last_batches_are_told_newest_first_with_the_reason_and_what_was_left() -> None:
    infer = FakeInfer()
    async with running({"a": infer}, ceiling=2) as bench:
        first = await bench.occupy(infer)
        others = [await bench.submit(value) for value in range(3)]
        infer.gate.set()
        await asyncio.gather(first, *others)
        bench.clock.advance_ms(40)
        dispatches = bench.scheduler.recent_dispatches()
    assert [(each.batch_size, each.waiting, each.reason) for each in dispatches] == [
        (1, 0, DispatchReason.BACKLOG),
        (2, 1, DispatchReason.BACKLOG),
        (1, 0, DispatchReason.LANE_FREE),
    ]
    assert [each.ago_ms for each in dispatches] == [pytest.approx(40)] * 3


async def test_the_costs_name_each_model_and_mode_with_its_ceiling() -> None:
    async with running({"a": FakeInfer()}, ceiling=4, has_latency_mode=True) as bench:
        costs = bench.scheduler.costs()
    assert [(cost.model, cost.mode, cost.ceiling) for cost in costs] == [
        ("a", EngineMode.THROUGHPUT, 4),
        ("a", EngineMode.LATENCY, 1),
    ]
