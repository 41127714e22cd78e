import pytest

from bento_service.scheduling.cost_model import CostModel

GPU = {1: 2.0, 2: 2.2, 4: 2.6, 8: 3.4, 16: 5.0}


@pytest.mark.parametrize(("duration_ms", "message"), [({2: 3.0}, "must have size 1"), ({1: 0.0}, "more than 0")])
def test_durations_without_size_1_or_not_above_0_are_refused(duration_ms: dict[int, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CostModel(duration_ms)


@pytest.mark.parametrize(
    ("buckets", "expected_ms"),
    [
        pytest.param((), {1: 2.0, 3: 2.4, 6: 3.0, 16: 5.0, 32: 10.0}, id="linear between sizes"),
        pytest.param((1, 4, 16), {1: 2.0, 2: 2.6, 3: 2.6, 4: 2.6, 5: 5.0, 16: 5.0}, id="as the next bucket"),
    ],
)
def test_sizes_that_were_not_measured_are_predicted(buckets: tuple[int, ...], expected_ms: dict[int, float]) -> None:
    cost = CostModel(GPU, bucket_sizes=buckets)
    assert {size: cost.predict_ms(size) for size in expected_ms} == pytest.approx(expected_ms)


def test_a_warm_up_whose_larger_batch_ran_faster_by_chance_does_not_make_smaller_ones_dearer_than_it() -> None:
    assert CostModel({1: 10.0, 2: 9.0}).predict_ms(2) == 10


def test_a_change_of_speed_at_one_size_applies_to_the_others_too() -> None:
    cost = CostModel(GPU)
    for _ in range(60):
        cost.learn(1, 2 * GPU[1])
    assert cost.speed == pytest.approx(0.5, rel=0.1)
    assert cost.predict_ms(16) == pytest.approx(10, rel=0.15)


def test_one_size_that_differs_from_warm_up_is_corrected_beside_the_others() -> None:
    cost = CostModel(GPU)
    for _ in range(500):
        cost.learn(1, 2.0)
        cost.learn(16, 7.5)
    assert cost.predict_ms(16) / cost.predict_ms(1) == pytest.approx(3.75, rel=0.2)


def test_the_correction_of_a_size_that_has_not_run_since_fades() -> None:
    cost = CostModel(GPU)
    for _ in range(500):
        cost.learn(1, 2.0)
        cost.learn(16, 10.0)
    for _ in range(3000):
        cost.learn(1, 2.0)
    assert cost.predict_ms(16) == pytest.approx(5.0, rel=0.05)


def test_the_description_has_measured_and_current_times_and_batches_by_the_size_nearest_by_ratio() -> None:
    cost = CostModel({1: 10.0, 8: 20.0})
    for size in (1, 2, 1, 3):
        cost.learn(size, 2 * cost.predict_ms(size))
    one, eight = cost.describe()
    assert (one.batch_size, one.measured_ms, one.samples) == (1, 10.0, 3)
    assert (eight.batch_size, eight.measured_ms, eight.samples) == (8, 20.0, 1)
    assert 10 < one.current_ms < 20


def test_a_batch_that_took_no_time_teaches_nothing() -> None:
    cost = CostModel(GPU)
    cost.learn(1, 0.0)
    assert cost.speed == 1
