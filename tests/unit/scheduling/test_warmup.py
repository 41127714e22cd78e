import numpy as np
import pytest
from numpy.typing import NDArray

from bento_service.domain import InputRecipe
from bento_service.errors import OutOfMemoryError
from bento_service.scheduling.warmup import time_batch_sizes
from tests.fakes.clock import FakeClock
from tests.fakes.engine import FakeInfer

RECIPE = InputRecipe(4, 6, 0.875, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_a_size_is_timed_by_the_shortest_of_the_runs_that_count() -> None:
    clock = FakeClock()
    durations_ms = iter([3, 17, 90, 8, 9, 11])
    infer = FakeInfer(on_call=lambda size: clock.advance_ms(next(durations_ms)))
    assert time_batch_sizes(infer, RECIPE, sizes=[1], clock=clock) == {1: pytest.approx(8)}


def test_sizes_are_tried_as_long_as_they_gain() -> None:
    clock = FakeClock()
    duration_ms = {1: 10, 2: 12, 4: 16, 8: 32, 16: 40}
    infer = FakeInfer(on_call=lambda size: clock.advance_ms(duration_ms[size]))
    assert list(time_batch_sizes(infer, RECIPE, sizes=list(duration_ms), clock=clock)) == [1, 2, 4, 8]


def test_batches_have_the_models_input_size() -> None:
    shapes: set[tuple[tuple[int, ...], np.dtype[np.uint8]]] = set()

    def infer(batch_nhwc: NDArray[np.uint8], /) -> NDArray[np.float32]:
        clock.advance_ms(5)
        shapes.add((batch_nhwc.shape, batch_nhwc.dtype))
        return np.zeros((len(batch_nhwc), 3), dtype=np.float32)

    clock = FakeClock()
    time_batch_sizes(infer, RECIPE, sizes=[1, 2], clock=clock)
    assert shapes == {((1, 4, 6, 3), np.dtype(np.uint8)), ((2, 4, 6, 3), np.dtype(np.uint8))}


def test_no_further_size_is_begun_once_the_time_is_spent() -> None:
    clock = FakeClock()
    infer = FakeInfer(on_call=lambda size: clock.advance(1))
    assert list(time_batch_sizes(infer, RECIPE, sizes=[1, 2, 4], clock=clock, budget_s=9)) == [1, 2]


def test_the_first_size_is_timed_however_long_it_takes() -> None:
    clock = FakeClock()
    infer = FakeInfer(on_call=lambda size: clock.advance(60))
    assert list(time_batch_sizes(infer, RECIPE, sizes=[1, 2], clock=clock, budget_s=0)) == [1]


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
