import math
from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from bento_service.scheduling.cost_model import CostModel

durations_ms = st.dictionaries(st.sampled_from([2, 4, 8, 16, 32, 64]), st.floats(0.1, 1e4)).flatmap(
    lambda rest: st.floats(0.1, 1e4).map(lambda single: {1: single, **rest})
)
buckets = st.sampled_from([(), (1, 2, 4, 8), (1, 8, 64)])
runs = st.lists(st.tuples(st.integers(1, 100), st.floats(0, 1e6)), max_size=60)
SIZES = range(1, 130)


@given(duration_ms=durations_ms, buckets=buckets, runs=runs)
def test_whatever_it_is_taught_more_images_never_cost_less_and_something(
    duration_ms: dict[int, float], buckets: tuple[int, ...], runs: list[tuple[int, float]]
) -> None:
    cost = CostModel(duration_ms, bucket_sizes=buckets)
    for size, ms in runs:
        cost.learn(size, ms)
    predictions_ms = [cost.predict_ms(size) for size in SIZES]
    assert all(0 < ms < math.inf for ms in predictions_ms)
    assert all(larger >= smaller * (1 - 1e-9) for smaller, larger in pairwise(predictions_ms))


@given(duration_ms=durations_ms, size=st.integers(1, 64), stall=st.floats(1, 1e6))
def test_one_outlier_however_large_moves_no_prediction_by_a_tenth(
    duration_ms: dict[int, float], size: int, stall: float
) -> None:
    cost = CostModel(duration_ms)
    before_ms = [cost.predict_ms(size) for size in SIZES]
    cost.learn(size, stall * cost.predict_ms(size))
    assert all(after_ms <= 1.1 * ms for ms, after_ms in zip(before_ms, map(cost.predict_ms, SIZES), strict=True))


@given(
    factor=st.sampled_from([0.1, 0.3, 3.0, 10.0]),
    jitter=st.floats(0, 0.2),
    sizes=st.lists(st.sampled_from([1, 2, 4, 8]), min_size=1, max_size=4),
    seed=st.integers(0, 1000),
)
def test_a_lasting_change_of_speed_is_followed_within_fifty_batches(
    factor: float, jitter: float, sizes: list[int], seed: int
) -> None:
    random = Random(seed)  # noqa: S311 (repeatable, not secret)
    truth = {1: 10.0, 2: 14.0, 4: 22.0, 8: 38.0}
    cost = CostModel(truth)
    for number in range(50):
        size = sizes[number % len(sizes)]
        cost.learn(size, truth[size] * factor * random.lognormvariate(0, jitter))
    for size, ms in truth.items():
        assert abs(math.log(cost.predict_ms(size) / (ms * factor))) < 0.35


@given(seed=st.integers(0, 1000))
def test_stalls_among_steady_batches_do_not_pass_for_a_slower_machine(seed: int) -> None:
    random = Random(seed)  # noqa: S311 (repeatable, not secret)
    cost = CostModel({1: 10.0})
    for _ in range(300):
        cost.learn(1, 10.0 * (20 if random.random() < 0.03 else 1))
    assert cost.predict_ms(1) <= 12.5
