import asyncio

import numpy as np
import pytest

from bento_service.domain.runner import DispatchReason, EngineMode
from bento_service.errors import DeadlineExceededError, DrainingError
from tests.fakes.engine import PATIENCE_S, FakeInfer, expected_scores
from tests.unit.scheduling.scheduler_bench import running

pytestmark = pytest.mark.anyio


async def test_a_lone_image_runs_at_once_and_alone() -> None:
    async with running({"a": FakeInfer()}) as bench:
        completion = await (await bench.submit(7))
    assert np.array_equal(completion.scores, expected_scores(7))
    assert (completion.batch_size, completion.queue_ms) == (1, 0)


async def test_images_that_wait_for_a_busy_lane_run_together() -> None:
    infer = FakeInfer()
    async with running({"a": infer}) as bench:
        first = await bench.occupy(infer)
        others = [await bench.submit(value) for value in range(5)]
        assert len(bench.scheduler.queue) == 5
        infer.gate.set()
        completions = await asyncio.gather(*others)
        assert (await first).batch_size == 1
    assert infer.calls == [(255,), (0, 1, 2, 3, 4)]
    assert {completion.reason for completion in completions} == {DispatchReason.BACKLOG}


async def test_every_free_lane_takes_work() -> None:
    infer = FakeInfer()
    async with running({"a": infer}, lanes=3) as bench:
        infer.gate.clear()
        tasks = [await bench.submit(value) for value in range(3)]
        for _ in tasks:
            infer.wait_for_lane()
        assert len(bench.scheduler.queue) == 0
        infer.gate.set()
        completions = await asyncio.gather(*tasks)
    assert [completion.batch_size for completion in completions] == [1, 1, 1]


async def test_late_images_each_fail_with_their_own_error() -> None:
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


async def test_closing_finishes_what_waits_and_refuses_the_rest() -> None:
    infer = FakeInfer()
    async with running({"a": infer}, ceiling=2) as bench:
        tasks = [await bench.occupy(infer)]
        tasks += [await bench.submit(value) for value in range(7)]
        closing = asyncio.create_task(asyncio.to_thread(bench.scheduler.close, timeout_s=PATIENCE_S))
        infer.gate.set()
        await closing
        assert bench.scheduler.has_ended
        assert len(await asyncio.gather(*tasks)) == 8
        with pytest.raises(DrainingError):
            await (await bench.submit(1))


async def test_images_that_wait_when_closing_times_out_fail_as_draining() -> None:
    infer = FakeInfer()
    async with running({"a": infer}) as bench:
        on_lane = await bench.occupy(infer)
        waiting = await bench.submit(1)
        await asyncio.to_thread(bench.scheduler.close, timeout_s=0)
        assert not bench.scheduler.has_ended
        with pytest.raises(DrainingError, match="given 0 s"):
            await waiting
        infer.gate.set()
        assert (await on_lane).batch_size == 1
    assert infer.computed == {255}


async def test_a_lone_image_gets_every_thread_and_the_next_starts_beside_it() -> None:
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
        arrival = bench.scheduler.queue.expect()
        await (await bench.submit(1))
        bench.scheduler.queue.withdraw(arrival)
        await (await bench.submit(2))
    assert infer.modes == [EngineMode.THROUGHPUT, EngineMode.LATENCY]


async def test_recent_dispatches_are_newest_first_with_reason_and_images_left() -> None:
    infer = FakeInfer()
    async with running({"a": infer}, ceiling=2) as bench:
        first = await bench.occupy(infer)
        others = [await bench.submit(value) for value in range(3)]
        infer.gate.set()
        await asyncio.gather(first, *others)
        bench.clock.advance_ms(40)
        dispatches = bench.scheduler.queue.recent_dispatches()
    assert [(each.batch_size, each.waiting, each.reason) for each in dispatches] == [
        (1, 0, DispatchReason.BACKLOG),
        (2, 1, DispatchReason.BACKLOG),
        (1, 0, DispatchReason.LANE_FREE),
    ]
    assert [each.ago_ms for each in dispatches] == [pytest.approx(40)] * 3


async def test_the_costs_name_each_model_and_mode_with_its_ceiling() -> None:
    async with running({"a": FakeInfer()}, ceiling=4, has_latency_mode=True) as bench:
        costs = bench.scheduler.queue.costs()
    assert [(cost.model, cost.mode, cost.ceiling) for cost in costs] == [
        ("a", EngineMode.THROUGHPUT, 4),
        ("a", EngineMode.LATENCY, 1),
    ]
