"""What goes wrong on a lane, as the event loop sees it."""

import asyncio
import threading

import pytest

from bento_service.domain.runner import DispatchReason
from bento_service.errors import InferenceFailedError
from bento_service.scheduling.scheduler import Scheduler
from bento_service.scheduling.work import Completion
from tests.fakes.clock import FakeClock
from tests.fakes.engine import PATIENCE_S, FakeInfer, LaneKilledError, make_costs, make_image
from tests.fakes.scheduling import run_image
from tests.unit.scheduling.scheduler_bench import running

pytestmark = pytest.mark.anyio


def test_a_lane_outlives_an_event_loop_that_closed_under_it() -> None:
    infer = FakeInfer()
    infer.gate.clear()
    loop = asyncio.new_event_loop()
    scheduler = Scheduler({"a": infer}, {"a": make_costs(1)}, lanes=1, target_ms=1000, clock=FakeClock(), loop=loop)
    crashes: list[threading.ExceptHookArgs] = []
    hook, threading.excepthook = threading.excepthook, crashes.append

    async def submit_and_leave() -> None:
        task = asyncio.create_task(run_image(scheduler, "a", make_image(1), clock=FakeClock()))
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


async def test_a_lane_that_dies_while_the_system_has_no_thread_left_works_on_and_closing_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    infer = FakeInfer(poison=[13], error=LaneKilledError)
    async with running({"a": infer}) as bench:
        await bench.occupy(infer)
        tasks = [await bench.submit(value) for value in (12, 13, 14)]
        with monkeypatch.context() as short_of_threads:
            short_of_threads.setattr(threading.Thread, "start", refuse)
            infer.gate.set()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert (await (await bench.submit(15))).batch_size == 1
    assert [type(outcome) for outcome in outcomes] == [Completion, InferenceFailedError, Completion]
