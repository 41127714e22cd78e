import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_service.scheduling.model_queue import FailureLimit, OutOfMemoryLimit


def test_out_of_memory_halves_the_batch_and_each_good_second_doubles_it() -> None:
    limit = OutOfMemoryLimit(8)
    limit.shrink(8, now_s=0)
    limit.shrink(3, now_s=0)
    sizes = [limit.size]
    for now_s in (0.5, 1, 2, 3, 4):
        limit.pass_batch(limit.size, now_s=now_s)
        sizes.append(limit.size)
    assert sizes == [1, 1, 2, 4, 8, 8]


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_each_failed_probe_doubles_the_wait_up_to_a_minute(lanes: int) -> None:
    limit = OutOfMemoryLimit(8)
    now_s = 0.0
    probes_s: list[float] = []
    limit.shrink(8, now_s=now_s)
    while len(probes_s) < 9:
        now_s += 0.5
        limit.pass_batch(4, now_s=now_s)
        if limit.size == 8:
            probes_s.append(now_s)
            for _ in range(lanes):
                limit.shrink(8, now_s=now_s)
    waits_s = [later - earlier for earlier, later in zip([0.0, *probes_s], probes_s, strict=False)]
    assert waits_s == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_after_a_probe_that_passed_the_next_wait_is_short_again() -> None:
    limit = OutOfMemoryLimit(8)
    limit.shrink(8, now_s=0)
    limit.pass_batch(4, now_s=1)
    limit.pass_batch(8, now_s=1)
    limit.shrink(8, now_s=10)
    limit.pass_batch(4, now_s=11)
    assert limit.size == 8


@given(
    largest=st.integers(1, 256),
    events=st.lists(st.tuples(st.booleans(), st.integers(1, 256), st.floats(0, 100)), max_size=50),
)
def test_the_limit_stays_within_one_image_and_the_largest_batch(
    largest: int, events: list[tuple[bool, int, float]]
) -> None:
    limit, now_s = OutOfMemoryLimit(largest), 0.0
    for has_failed, waiting, pause_s in events:
        now_s += pause_s
        size = min(waiting, limit.size)
        if has_failed:
            limit.shrink(size, now_s=now_s)
            assert limit.size <= max(1, size // 2)
        else:
            limit.pass_batch(size, now_s=now_s)
        assert 1 <= limit.size <= largest


def test_a_model_that_always_fails_soon_costs_one_run_an_image() -> None:
    limit = FailureLimit(128)
    for _ in range(7):
        limit.fail_batch()
    assert limit.size == 1
    assert limit.fail_image()
    assert not limit.fail_image()


def test_a_model_that_runs_well_again_gets_its_batches_and_its_second_tries_back() -> None:
    limit = FailureLimit(8)
    limit.fail_batch()
    limit.fail_batch()
    limit.fail_image()
    limit.pass_run(is_whole=False)
    assert (limit.size, limit.fail_image()) == (2, True)
    limit.pass_run(is_whole=True)
    limit.pass_run(is_whole=True)
    assert limit.size == 8
