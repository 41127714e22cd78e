import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_service.scheduling.batch_limits import FailureLimit, OutOfMemoryLimit


def test_out_of_memory_halves_the_batch_that_met_it() -> None:
    cap = OutOfMemoryLimit(128)
    cap.shrink(100, now_s=0)
    assert cap.size == 50


def test_after_a_second_of_good_batches_the_cap_doubles_until_it_is_gone() -> None:
    cap = OutOfMemoryLimit(8)
    cap.shrink(8, now_s=0)
    cap.shrink(4, now_s=0)
    sizes = []
    for second in range(4):
        cap.pass_batch(cap.size, now_s=second)
        sizes.append(cap.size)
    assert sizes == [2, 4, 8, 8]


def test_time_alone_does_not_raise_the_cap() -> None:
    cap = OutOfMemoryLimit(8)
    cap.shrink(8, now_s=0)
    cap.pass_batch(4, now_s=0.5)
    assert cap.size == 4


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_each_probe_that_fails_waits_twice_as_long_for_the_next_up_to_a_minute(lanes: int) -> None:
    cap = OutOfMemoryLimit(8)
    now_s = 0.0
    probes_s: list[float] = []
    cap.shrink(8, now_s=now_s)
    while len(probes_s) < 9:
        now_s += 0.5
        cap.pass_batch(4, now_s=now_s)
        if cap.size == 8:
            probes_s.append(now_s)
            for _ in range(lanes):
                cap.shrink(8, now_s=now_s)
    waits_s = [later - earlier for earlier, later in zip([0.0, *probes_s], probes_s, strict=False)]
    assert waits_s == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_probe_that_went_well_lets_the_next_out_of_memory_wait_no_longer_than_the_first() -> None:
    cap = OutOfMemoryLimit(8)
    cap.shrink(8, now_s=0)
    cap.pass_batch(4, now_s=1)
    cap.pass_batch(8, now_s=1)
    cap.shrink(8, now_s=10)
    cap.pass_batch(4, now_s=11)
    assert cap.size == 8


@given(
    largest=st.integers(1, 256),
    events=st.lists(st.tuples(st.booleans(), st.integers(1, 256), st.floats(0, 100)), max_size=50),
)
def test_the_cap_stays_between_one_image_and_the_largest_batch(
    largest: int, events: list[tuple[bool, int, float]]
) -> None:
    cap, now_s = OutOfMemoryLimit(largest), 0.0
    for has_failed, waiting, pause_s in events:
        now_s += pause_s
        size = min(waiting, cap.size)
        if has_failed:
            cap.shrink(size, now_s=now_s)
            assert cap.size <= max(1, size // 2)
        else:
            cap.pass_batch(size, now_s=now_s)
        assert 1 <= cap.size <= largest


def test_a_model_that_always_fails_soon_costs_one_run_an_image() -> None:
    cap = FailureLimit(128)
    for _ in range(7):
        cap.fail_batch()
    assert cap.size == 1
    assert cap.fail_image()
    assert not cap.fail_image()


def test_a_model_that_runs_well_again_gets_its_batches_and_its_second_tries_back() -> None:
    cap = FailureLimit(8)
    cap.fail_batch()
    cap.fail_batch()
    cap.fail_image()
    cap.pass_run(is_whole=False)
    assert (cap.size, cap.fail_image()) == (2, True)
    cap.pass_run(is_whole=True)
    cap.pass_run(is_whole=True)
    assert cap.size == 8
