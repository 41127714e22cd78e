from collections.abc import Iterable

import numpy as np
import pytest
from numpy.typing import NDArray

from bento_service.domain.models import InputRecipe
from bento_service.domain.runner import EngineMode
from bento_service.errors import OutOfMemoryError
from bento_service.scheduling.warmup import measure_costs, time_batch_sizes
from tests.fakes.clock import FakeClock
from tests.fakes.engine import FakeInfer

RECIPE = InputRecipe(4, 6, 0.875, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def take_turns(clock: FakeClock, durations_ms: Iterable[float]) -> FakeInfer:
    turns = iter(durations_ms)
    return FakeInfer(on_call=lambda size: clock.advance_ms(next(turns)))


def test_a_size_is_timed_by_the_median_of_the_runs_that_count() -> None:
    clock = FakeClock()
    infer = take_turns(clock, [300, 17, 8, 90, 8, 8, 8, 8])
    assert time_batch_sizes(infer, RECIPE, sizes=[1], clock=clock) == {1: pytest.approx(8)}


def test_a_size_whose_runs_agree_needs_few_of_them() -> None:
    clock = FakeClock()
    infer = FakeInfer(on_call=lambda size: clock.advance_ms(8))
    time_batch_sizes(infer, RECIPE, sizes=[1], clock=clock)
    assert len(infer.calls) == 1 + 5


def test_a_size_whose_runs_differ_is_run_more_often_but_not_for_ever() -> None:
    clock = FakeClock()
    infer = take_turns(clock, [5, 1, 2, 4, 3] * 10)
    time_batch_sizes(infer, RECIPE, sizes=[1], clock=clock)
    assert len(infer.calls) == 1 + 30


def test_a_slow_size_is_not_run_longer_than_its_share_of_the_time() -> None:
    clock = FakeClock()
    infer = take_turns(clock, [500, 100] * 100)
    time_batch_sizes(infer, RECIPE, sizes=[1], clock=clock, budget_s=1)
    assert len(infer.calls) == 1 + 3


def test_sizes_are_tried_until_three_in_a_row_gain_nothing() -> None:
    clock = FakeClock()
    duration_ms = {1: 10, 2: 12, 4: 16, 8: 32, 16: 64, 32: 128, 64: 160}
    infer = FakeInfer(on_call=lambda size: clock.advance_ms(duration_ms[size]))
    assert list(time_batch_sizes(infer, RECIPE, sizes=list(duration_ms), clock=clock)) == [1, 2, 4, 8, 16, 32]


def test_a_size_that_is_disturbed_neither_ends_the_search_nor_looks_dearer_than_a_larger_one() -> None:
    clock = FakeClock()
    duration_ms = {1: 10, 2: 30, 4: 16, 8: 22}
    infer = FakeInfer(on_call=lambda size: clock.advance_ms(duration_ms[size]))
    measured_ms = time_batch_sizes(infer, RECIPE, sizes=list(duration_ms), clock=clock)
    assert measured_ms == pytest.approx({1: 10, 2: 16, 4: 16, 8: 22})


def test_a_latency_mode_that_takes_long_to_compile_leaves_the_time_for_the_batch_sizes() -> None:
    clock = FakeClock()

    def infer(batch_nhwc: NDArray[np.uint8], mode: EngineMode, /) -> NDArray[np.float32]:
        clock.advance_ms(5 + 0.1 * len(batch_nhwc))
        if mode is EngineMode.LATENCY and clock() < 1060:
            clock.advance(60)
        return np.zeros((len(batch_nhwc), 3), dtype=np.float32)

    costs = measure_costs(infer, RECIPE, modes=frozenset(EngineMode), sizes=[1, 2, 4, 8], clock=clock)
    assert costs[EngineMode.THROUGHPUT].sizes == (1, 2, 4, 8)


def test_batches_have_the_models_input_size_and_the_mode_that_is_timed() -> None:
    seen: set[tuple[tuple[int, ...], np.dtype[np.uint8], EngineMode]] = set()

    def infer(batch_nhwc: NDArray[np.uint8], mode: EngineMode, /) -> NDArray[np.float32]:
        clock.advance_ms(5)
        seen.add((batch_nhwc.shape, batch_nhwc.dtype, mode))
        return np.zeros((len(batch_nhwc), 3), dtype=np.float32)

    clock = FakeClock()
    measure_costs(infer, RECIPE, modes=frozenset(EngineMode), sizes=[1, 2], clock=clock)
    assert seen == {
        ((1, 4, 6, 3), np.dtype(np.uint8), EngineMode.LATENCY),
        ((1, 4, 6, 3), np.dtype(np.uint8), EngineMode.THROUGHPUT),
        ((2, 4, 6, 3), np.dtype(np.uint8), EngineMode.THROUGHPUT),
    }


def test_an_engine_with_buckets_is_timed_at_those_and_at_no_other_size() -> None:
    clock = FakeClock()
    infer = FakeInfer(on_call=lambda size: clock.advance_ms(10))
    costs = measure_costs(
        infer, RECIPE, modes={EngineMode.THROUGHPUT}, sizes=[1, 2, 4], bucket_sizes=[1, 3, 12], clock=clock
    )
    assert {len(call) for call in infer.calls} == {1, 3, 12}
    assert costs[EngineMode.THROUGHPUT].bucket_sizes == (1, 3, 12)
    assert set(costs) == {EngineMode.THROUGHPUT}


def test_no_further_size_is_begun_once_the_time_is_spent() -> None:
    clock = FakeClock()
    infer = FakeInfer(on_call=lambda size: clock.advance(1))
    assert list(time_batch_sizes(infer, RECIPE, sizes=[1, 2, 4], clock=clock, budget_s=5)) == [1, 2]


def test_the_first_two_sizes_are_timed_however_long_they_take() -> None:
    clock = FakeClock()
    infer = FakeInfer(on_call=lambda size: clock.advance(60))
    assert list(time_batch_sizes(infer, RECIPE, sizes=[1, 2, 4], clock=clock, budget_s=0)) == [1, 2]


def fail_above(largest: int, clock: FakeClock) -> FakeInfer:
    def check(size: int) -> None:
        clock.advance_ms(5)
        if size > largest:
            raise OutOfMemoryError(f"no memory for {size}")

    return FakeInfer(on_call=check)


def test_a_size_that_does_not_fit_into_memory_ends_the_list_and_not_the_start() -> None:
    clock = FakeClock()
    infer = fail_above(2, clock)
    assert list(time_batch_sizes(infer, RECIPE, sizes=[1, 2, 4, 8], clock=clock)) == [1, 2]
    assert max(map(len, infer.calls)) == 4


def test_a_model_of_which_not_one_image_fits_is_an_error() -> None:
    with pytest.raises(OutOfMemoryError):
        time_batch_sizes(fail_above(0, FakeClock()), RECIPE, sizes=[1, 2], clock=FakeClock())
