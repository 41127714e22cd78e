import asyncio
import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bento_service.domain import DispatchReason
from bento_service.errors import InferenceFailedError
from bento_service.scheduling.execution import Result, run_batch
from bento_service.scheduling.work import Completion, WorkItem
from tests.fakes.clock import FakeClock
from tests.fakes.engine import FakeInfer, expected_scores, make_image


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def run(
    loop: asyncio.AbstractEventLoop,
    infer: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    size: int,
    *,
    clock: FakeClock | None = None,
    enqueued_s: float = 0.0,
) -> list[Result]:
    """Run the images 0..size-1 as one batch."""
    items = [WorkItem("a", make_image(value), enqueued_s, None, loop.create_future()) for value in range(size)]
    results = list(run_batch(infer, items, clock=clock or FakeClock()))
    assert [item for item, _ in results] == items
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
    assert len(infer.calls) <= 2 * len(failed) * math.ceil(math.log2(size)) + 1


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
    def infer(batch_nhwc: NDArray[np.uint8], /) -> NDArray[np.float32]:
        scores = np.stack([expected_scores(int(value)) for value in batch_nhwc[:, 0, 0, 0]])
        scores[batch_nhwc[:, 0, 0, 0] == 1] = np.nan
        return scores

    results = run(loop, infer, 3)
    assert [isinstance(outcome, InferenceFailedError) for _, outcome in results] == [False, True, False]


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_an_answer_of_the_wrong_length_is_the_models_failure(loop: asyncio.AbstractEventLoop, rows: int) -> None:
    results = run(loop, lambda batch_nhwc: np.zeros((rows if len(batch_nhwc) > 1 else 0, 3), dtype=np.float32), 2)
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
