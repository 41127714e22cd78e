import asyncio
import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bento_service.domain.runner import DispatchReason, EngineMode
from bento_service.errors import DeadlineExceededError, InferenceFailedError, OutOfMemoryError
from bento_service.scheduling.cost_model import CostModel
from bento_service.scheduling.execution import run_batch
from bento_service.scheduling.queue import WorkQueue
from bento_service.scheduling.work import Batch, Completion, Result, WorkItem
from tests.fakes.clock import FakeClock
from tests.fakes.engine import FakeInfer, expected_scores, make_image


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


class OtherLanesRunWell(WorkQueue):
    """A queue whose model runs well on another lane between any two failures."""

    def note_failure(self, batch: Batch, size: int) -> bool:
        return size == 1

    def note_out_of_memory(self, batch: Batch, size: int) -> bool:
        return size == 1


def make_queue(kind: type[WorkQueue] = WorkQueue, *, on_out_of_memory: Callable[[], None] = lambda: None) -> WorkQueue:
    return kind(
        {"a": {EngineMode.THROUGHPUT: CostModel({1: 1.0, 32: 32.0})}},
        lanes=1,
        target_ms=1000,
        clock=FakeClock(),
        on_expired=lambda items: None,
        on_out_of_memory=on_out_of_memory,
    )


def make_batch(
    loop: asyncio.AbstractEventLoop, size: int, *, enqueued_s: float = 0.0, deadline_s: float | None = None
) -> Batch:
    """Make a batch of the images 0..size-1."""
    items = tuple(
        WorkItem("a", make_image(value), enqueued_s, deadline_s, loop.create_future()) for value in range(size)
    )
    return Batch("a", items, EngineMode.THROUGHPUT, DispatchReason.BACKLOG, waiting=0)


def run(
    loop: asyncio.AbstractEventLoop,
    infer: Callable[[NDArray[np.uint8], EngineMode], NDArray[np.float32]],
    size: int,
    *,
    clock: FakeClock | None = None,
    enqueued_s: float = 0.0,
    queue: WorkQueue | None = None,
) -> list[Result]:
    """Run the images 0..size-1 as one batch."""
    batch = make_batch(loop, size, enqueued_s=enqueued_s)
    clock = clock or FakeClock()
    queue = make_queue() if queue is None else queue
    results = list(run_batch(infer, batch, queue=queue, clock=clock, pause=clock.advance))
    assert [item for item, _ in results] == list(batch.items)
    return results


def outcomes(results: list[Result]) -> list[Completion]:
    completions = [outcome for _, outcome in results if isinstance(outcome, Completion)]
    assert len(completions) == len(results)
    return completions


def test_each_image_gets_its_own_scores(loop: asyncio.AbstractEventLoop) -> None:
    for value, completion in enumerate(outcomes(run(loop, FakeInfer(), 5))):
        assert np.array_equal(completion.scores, expected_scores(value))
        assert completion.batch_size == 5


@given(poison=st.sets(st.integers(0, 31)), size=st.integers(1, 32))
def test_exactly_the_poisonous_images_of_a_batch_fail_and_they_are_found_in_few_runs(
    loop: asyncio.AbstractEventLoop, poison: set[int], size: int
) -> None:
    infer = FakeInfer(poison=poison)
    results = run(loop, infer, size)
    failed = {value for value, (_, outcome) in enumerate(results) if isinstance(outcome, InferenceFailedError)}
    assert failed == {value for value in poison if value < size}
    for value, (_, outcome) in enumerate(results):
        if isinstance(outcome, Completion):
            assert np.array_equal(outcome.scores, expected_scores(value))
    assert len(infer.calls) <= 2 * len(failed) * math.ceil(math.log2(size)) + len(failed) + 1


def test_images_whose_batch_failed_say_that_they_ran_again_and_in_which_batch(loop: asyncio.AbstractEventLoop) -> None:
    results = run(loop, FakeInfer(poison=[3]), 4)
    completions = outcomes(results[:3])
    assert {completion.reason for completion in completions} == {DispatchReason.BISECTED}
    assert [completion.batch_size for completion in completions] == [2, 2, 1]


def test_the_cause_of_a_failure_is_kept_for_the_log_and_not_told_to_the_client(
    loop: asyncio.AbstractEventLoop,
) -> None:
    [(_, error)] = run(loop, FakeInfer(poison=[0], error=lambda: RuntimeError("at 0xdeadbeef")), 1)
    assert isinstance(error, InferenceFailedError)
    assert "0xdeadbeef" not in error.message
    assert str(error.__cause__) == "at 0xdeadbeef"


def test_scores_that_are_not_finite_fail_the_image_that_has_them(loop: asyncio.AbstractEventLoop) -> None:
    def infer(batch_nhwc: NDArray[np.uint8], mode: EngineMode, /) -> NDArray[np.float32]:
        scores = np.stack([expected_scores(int(value)) for value in batch_nhwc[:, 0, 0, 0]])
        scores[batch_nhwc[:, 0, 0, 0] == 1] = np.nan
        return scores

    results = run(loop, infer, 3)
    assert [isinstance(outcome, InferenceFailedError) for _, outcome in results] == [False, True, False]


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_an_answer_of_the_wrong_length_is_the_models_failure(loop: asyncio.AbstractEventLoop, rows: int) -> None:
    def infer(batch_nhwc: NDArray[np.uint8], mode: EngineMode, /) -> NDArray[np.float32]:
        return np.zeros((rows if len(batch_nhwc) > 1 else 0, 3), dtype=np.float32)

    results = run(loop, infer, 2)
    assert all(isinstance(outcome, InferenceFailedError) for _, outcome in results)


def test_waiting_ends_and_inference_begins_as_the_lane_starts(loop: asyncio.AbstractEventLoop) -> None:
    clock = FakeClock(100.0)
    infer = FakeInfer(on_call=lambda size: clock.advance_ms(9))
    [completion] = outcomes(run(loop, infer, 1, clock=clock, enqueued_s=99.5))
    assert completion.queue_ms == pytest.approx(500)
    assert completion.inference_ms == pytest.approx(9)


def test_a_failed_run_counts_as_waiting_for_those_who_run_again(loop: asyncio.AbstractEventLoop) -> None:
    clock = FakeClock(100.0)
    infer = FakeInfer(poison=[1], on_call=lambda size: clock.advance_ms(10))
    results = run(loop, infer, 2, clock=clock, enqueued_s=100.0)
    [completion] = outcomes(results[:1])
    assert completion.queue_ms == pytest.approx(10)
    assert completion.inference_ms == pytest.approx(10)


def fail_once(clock: FakeClock, error: Exception) -> FakeInfer:
    """Make a model whose first run fails after a second, whatever it is given."""
    errors = [error]

    def on_call(size: int) -> None:
        clock.advance(1)
        if errors:
            raise errors.pop()

    return FakeInfer(on_call=on_call)


def test_a_fault_that_has_passed_by_the_second_try_costs_nobody_an_answer(loop: asyncio.AbstractEventLoop) -> None:
    [completion] = outcomes(run(loop, fail_once(FakeClock(), RuntimeError("hiccup")), 1))
    assert completion.reason is DispatchReason.BISECTED


@pytest.mark.parametrize("error", [RuntimeError, lambda: OutOfMemoryError("no memory at all")])
def test_an_image_that_fails_again_and_again_is_run_twice_though_other_lanes_run_the_model_well(
    loop: asyncio.AbstractEventLoop, error: Callable[[], Exception]
) -> None:
    infer = FakeInfer(poison=[0], error=error)
    [(_, outcome)] = run(loop, infer, 1, queue=make_queue(OtherLanesRunWell))
    assert isinstance(outcome, InferenceFailedError)
    assert len(infer.calls) == 2


@pytest.mark.parametrize("error", [OutOfMemoryError, MemoryError])
def test_a_batch_that_met_out_of_memory_runs_in_halves_that_say_so(
    loop: asyncio.AbstractEventLoop, error: type[Exception]
) -> None:
    def check(size: int) -> None:
        if size > 2:
            raise error(f"no memory for {size}")

    counts: list[None] = []
    queue = make_queue(on_out_of_memory=lambda: counts.append(None))
    completions = outcomes(run(loop, FakeInfer(on_call=check), 8, queue=queue))
    assert {(completion.batch_size, completion.reason) for completion in completions} == {(2, DispatchReason.SHRUNK)}
    assert len(counts) == 3


def test_memory_that_was_short_for_a_moment_costs_a_lone_image_no_answer(loop: asyncio.AbstractEventLoop) -> None:
    clock = FakeClock(100.0)
    freed_s = clock() + 0.02

    def check(size: int) -> None:
        if clock() < freed_s:
            raise OutOfMemoryError("another lane has it all")

    infer = FakeInfer(on_call=check)
    [completion] = outcomes(run(loop, infer, 1, clock=clock, enqueued_s=100.0))
    assert completion.reason is DispatchReason.SHRUNK
    assert completion.queue_ms == pytest.approx(50)
    assert len(infer.calls) == 2


def test_a_model_of_which_never_one_image_fits_costs_a_pause_once_and_then_one_run_an_image(
    loop: asyncio.AbstractEventLoop,
) -> None:
    clock = FakeClock(100.0)
    infer = FakeInfer(poison=range(4), error=lambda: OutOfMemoryError("no memory at all"))
    results = run(loop, infer, 4, clock=clock)
    assert all(isinstance(outcome, InferenceFailedError) for _, outcome in results)
    assert [len(call) for call in infer.calls] == [4, 2, 1, 1, 1, 2, 1, 1]
    assert clock() == pytest.approx(100.05)


def test_who_hangs_up_or_runs_late_while_a_batch_fails_is_not_run_again(loop: asyncio.AbstractEventLoop) -> None:
    clock = FakeClock()
    infer = fail_once(clock, RuntimeError("slow, then broken"))
    batch = make_batch(loop, 3)
    gone, late, kept = batch.items
    gone.future.cancel()
    late.deadline_s = clock() + 0.5
    results = dict(run_batch(infer, batch, queue=make_queue(), clock=clock))
    assert gone not in results
    assert isinstance(results[late], DeadlineExceededError)
    assert isinstance(results[kept], Completion)
    assert infer.calls[1:] == [(2,)]


def test_every_good_run_is_a_dispatch_with_its_own_size_and_reason(loop: asyncio.AbstractEventLoop) -> None:
    queue = make_queue()
    run(loop, FakeInfer(poison=[3]), 4, queue=queue)
    assert [(dispatch.batch_size, dispatch.reason) for dispatch in queue.recent_dispatches()] == [
        (1, DispatchReason.BISECTED),
        (2, DispatchReason.BISECTED),
    ]
