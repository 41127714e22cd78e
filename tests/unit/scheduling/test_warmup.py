import numpy as np
import pytest
from numpy.typing import NDArray

from bento_service.domain.models import InputRecipe
from bento_service.domain.runner import EngineMode
from bento_service.errors import OutOfMemoryError
from bento_service.scheduling.warmup import Beside, measure_costs, time_batch_sizes
from tests.fakes.clock import FakeClock
from tests.fakes.engine import FakeInfer

RECIPE = InputRecipe(4, 6, 0.875, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def make_infer(clock: FakeClock, duration_ms: dict[int, float], *, fits: int = 1000) -> FakeInfer:
    """Make a model by the durations of its batches, that has memory for so many images."""

    def on_call(size: int) -> None:
        clock.advance_ms(duration_ms[size])
        if size > fits:
            raise OutOfMemoryError(f"no memory for {size}")

    return FakeInfer(on_call=on_call)


def time_sizes(duration_ms: dict[int, float], *, budget_s: float = 1.0, fits: int = 1000) -> dict[int, float]:
    clock = FakeClock()
    infer = make_infer(clock, duration_ms, fits=fits)
    return time_batch_sizes(infer, RECIPE, sizes=list(duration_ms), clock=clock, budget_s=budget_s)


@pytest.mark.parametrize(
    ("runs_ms", "median_ms", "runs"),
    [
        pytest.param([300, *[8] * 9], 8, 1 + 5, id="that agree: few"),
        pytest.param([5, 1, 2, 4, 3] * 10, 2.5, 1 + 30, id="that differ: more, but not for ever"),
        pytest.param([500, 100] * 100, 100, 1 + 3, id="that are slow: no longer than their share of the time"),
        pytest.param([300, 17, *[8] * 10], 8, 1 + 5, id="the first of which does not count"),
    ],
)
def test_a_size_is_timed_by_the_median_of_its_runs(runs_ms: list[float], median_ms: float, runs: int) -> None:
    clock = FakeClock()
    turns = iter(runs_ms)
    infer = FakeInfer(on_call=lambda size: clock.advance_ms(next(turns)))
    measured_ms = time_batch_sizes(infer, RECIPE, sizes=[1], clock=clock)[1]
    assert measured_ms == pytest.approx(median_ms, rel=0.25)
    assert len(infer.calls) == runs


@pytest.mark.parametrize(
    ("duration_ms", "budget_s", "fits", "timed"),
    [
        pytest.param(
            {1: 10, 2: 12, 4: 16, 8: 32, 16: 64, 32: 128, 64: 160},
            1,
            1000,
            [1, 2, 4, 8, 16, 32],
            id="until three in a row gain nothing",
        ),
        pytest.param({1: 1000, 2: 1000, 4: 1000}, 5, 1000, [1, 2], id="until the time is spent"),
        pytest.param({1: 60_000, 2: 60_000, 4: 60_000}, 0, 1000, [1, 2], id="the first two in any case"),
        pytest.param({1: 5, 2: 6, 4: 7, 8: 8}, 1, 2, [1, 2], id="while they fit into memory"),
    ],
)
def test_sizes_are_timed(duration_ms: dict[int, float], budget_s: float, fits: int, timed: list[int]) -> None:
    assert list(time_sizes(duration_ms, budget_s=budget_s, fits=fits)) == timed


def test_a_disturbed_size_neither_ends_the_search_nor_costs_more_than_a_larger_one() -> None:
    assert time_sizes({1: 10, 2: 30, 4: 16, 8: 22}) == pytest.approx({1: 10, 2: 16, 4: 16, 8: 22})


def test_a_model_of_which_not_one_image_fits_is_an_error() -> None:
    with pytest.raises(OutOfMemoryError):
        time_sizes({1: 5, 2: 5}, fits=0)


def test_compiling_the_latency_mode_takes_no_time_from_the_batch_sizes() -> None:
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


@pytest.mark.parametrize(
    ("factor", "runs", "measured_ms"),
    [
        pytest.param(1, [2, 1, 1, 1, 1], {1: 10, 2: 15}, id="taken"),
        pytest.param(2.5, [2, 1, 1, 1, 1], {1: 10, 2: 15}, id="taken on a busier machine"),
        pytest.param(0.5, None, {1: 5, 2: 7.5}, id="measured again where that start was disturbed"),
        pytest.param(9, None, {1: 90, 2: 135}, id="measured again on a far slower machine"),
    ],
)
def test_durations_of_an_earlier_start_are(
    factor: float, runs: list[int] | None, measured_ms: dict[int, float]
) -> None:
    clock = FakeClock()
    known_ms = {1: 10.0, 2: 15.0}
    infer = make_infer(clock, {size: factor * ms for size, ms in known_ms.items()})

    costs = measure_costs(
        infer,
        RECIPE,
        modes={EngineMode.THROUGHPUT},
        sizes=[1, 2],
        clock=clock,
        known_ms={EngineMode.THROUGHPUT: known_ms},
    )

    assert costs[EngineMode.THROUGHPUT].curve_ms() == pytest.approx(measured_ms)
    assert runs in (None, [len(call) for call in infer.calls])


def test_a_lone_image_confirms_the_durations_of_an_engine_that_runs_images_in_turn() -> None:
    clock = FakeClock()
    infer = make_infer(clock, {1: 5, 2: 10, 4: 20})
    known_ms = {EngineMode.THROUGHPUT: {1: 5.0, 2: 10.0, 4: 20.0}}

    costs = measure_costs(
        infer,
        RECIPE,
        modes={EngineMode.THROUGHPUT},
        sizes=[1, 2, 4],
        clock=clock,
        known_ms=known_ms,
        runs_images_in_turn=True,
    )

    assert [len(call) for call in infer.calls] == [1] * 4
    assert costs[EngineMode.THROUGHPUT].sizes == (1, 2, 4)


def test_durations_of_an_earlier_start_that_had_more_memory_are_measured_again() -> None:
    clock = FakeClock()
    infer = make_infer(clock, {1: 5, 2: 6, 4: 7}, fits=2)
    known_ms = {EngineMode.THROUGHPUT: {1: 5.0, 2: 6.0, 4: 7.0}}

    costs = measure_costs(infer, RECIPE, modes={EngineMode.THROUGHPUT}, sizes=[1, 2, 4], clock=clock, known_ms=known_ms)

    assert costs[EngineMode.THROUGHPUT].sizes == (1, 2)


def test_beside_other_models_few_small_batches_run_with_a_rest_after_each() -> None:
    clock = FakeClock()
    infer = make_infer(clock, {1: 10, 2: 12, 4: 16, 8: 30, 16: 55})
    rests_s: list[float] = []

    costs = measure_costs(
        infer,
        RECIPE,
        modes={EngineMode.THROUGHPUT},
        sizes=[1, 2, 4, 8, 16],
        clock=clock,
        beside=Beside(longest_s=0.05, rest=rests_s.append),
        known_ms={EngineMode.THROUGHPUT: {1: 1.0}},
    )

    # Sixteen images would take longer than 50 ms.
    assert [len(call) for call in infer.calls] == [1] * 4 + [2] * 4 + [4] * 4 + [8] * 4
    assert costs[EngineMode.THROUGHPUT].curve_ms() == pytest.approx({1: 10, 2: 12, 4: 16, 8: 30})
    assert rests_s == pytest.approx([3 * ms / 1000 for ms in (10, 12, 16, 30) for _ in range(4)])
