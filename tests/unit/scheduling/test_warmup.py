import numpy as np
import pytest

from bento_service.domain import InputRecipe
from bento_service.errors import OutOfMemoryError
from bento_service.scheduling.warmup import time_batch_sizes
from tests.fakes.clock import FakeClock
from tests.fakes.engine import FakeInfer

RECIPE = InputRecipe(4, 6, 0.875, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_each_size_is_timed_by_the_median_of_runs_that_count() -> None:
    clock = FakeClock()
    durations_ms = iter([500, 7, 90, 8])
    infer = FakeInfer(on_call=lambda size: clock.advance_ms(next(durations_ms)))
    assert time_batch_sizes(infer, RECIPE, sizes=[1], clock=clock) == {1: pytest.approx(8)}


def test_batches_have_the_models_input_size() -> None:
    shapes = set()

    def infer(batch_nhwc: "np.typing.NDArray[np.uint8]", /) -> "np.typing.NDArray[np.float32]":
        shapes.add((batch_nhwc.shape, batch_nhwc.dtype))
        return np.zeros((len(batch_nhwc), 3), dtype=np.float32)

    time_batch_sizes(infer, RECIPE, sizes=[1, 2], clock=FakeClock())
    assert shapes == {((1, 4, 6, 3), np.dtype(np.uint8)), ((2, 4, 6, 3), np.dtype(np.uint8))}


def test_no_further_size_is_begun_once_the_time_is_spent() -> None:
    clock = FakeClock()
    infer = FakeInfer(on_call=lambda size: clock.advance(1))
    assert list(time_batch_sizes(infer, RECIPE, sizes=[1, 2, 4], clock=clock, budget_s=5)) == [1, 2]


def test_the_first_size_is_timed_however_long_it_takes() -> None:
    clock = FakeClock()
    infer = FakeInfer(on_call=lambda size: clock.advance(60))
    assert list(time_batch_sizes(infer, RECIPE, sizes=[1, 2], clock=clock, budget_s=0)) == [1]


def fail_above(largest: int) -> FakeInfer:
    def check(size: int) -> None:
        if size > largest:
            raise OutOfMemoryError(f"no memory for {size}")

    return FakeInfer(on_call=check)


def test_a_size_that_does_not_fit_into_memory_ends_the_list_and_not_the_start() -> None:
    assert list(time_batch_sizes(fail_above(2), RECIPE, sizes=[1, 2, 4, 8], clock=FakeClock())) == [1, 2]


def test_a_model_of_which_not_one_image_fits_is_an_error() -> None:
    with pytest.raises(OutOfMemoryError):
        time_batch_sizes(fail_above(0), RECIPE, sizes=[1, 2], clock=FakeClock())
