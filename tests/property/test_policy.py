import math

from hypothesis import given
from hypothesis import strategies as st

from bento_service.scheduling.policy import QueueState, choose_batch, choose_ceiling, has_to_shed

times_s = st.floats(0, 1e6)
queues = st.lists(
    st.builds(
        QueueState,
        model=st.sampled_from("abcdef"),
        length=st.integers(1, 500),
        oldest_s=times_s,
        ceiling=st.integers(1, 256),
    ),
    unique_by=lambda queue: queue.model,
)
waiting_queues = queues.filter(bool)
idle_lanes = st.integers(0, 64)
durations_ms = st.dictionaries(st.sampled_from([2, 4, 8, 16, 32, 64]), st.floats(0.01, 1e5)).flatmap(
    lambda rest: st.floats(0.01, 1e5).map(lambda single: {1: single, **rest})
)
waits_ms = st.floats(0, 1e7)


@given(queues=queues, idle_lanes=idle_lanes)
def test_a_free_lane_gets_work_exactly_where_something_waits(queues: list[QueueState], idle_lanes: int) -> None:
    assert (choose_batch(queues, idle_lanes) is None) == (not queues)


@given(queues=waiting_queues, idle_lanes=idle_lanes)
def test_the_image_that_has_waited_longest_of_all_goes_next(queues: list[QueueState], idle_lanes: int) -> None:
    choice = choose_batch(queues, idle_lanes)
    assert choice is not None
    oldest_s = {queue.model: queue.oldest_s for queue in queues}
    assert oldest_s[choice.model] == min(oldest_s.values())


@given(queues=waiting_queues, idle_lanes=idle_lanes)
def test_a_batch_holds_no_more_than_waits_and_no_more_than_its_ceiling(
    queues: list[QueueState], idle_lanes: int
) -> None:
    choice = choose_batch(queues, idle_lanes)
    assert choice is not None
    [chosen] = [queue for queue in queues if queue.model == choice.model]
    assert 1 <= choice.size <= min(chosen.length, chosen.ceiling)


@given(length=st.integers(1, 500), ceiling=st.integers(1, 256), lanes=st.integers(1, 64))
def test_idle_lanes_share_a_backlog_evenly_and_leave_nothing_that_they_could_run(
    length: int, ceiling: int, lanes: int
) -> None:
    left, sizes = length, []
    for idle in range(lanes, 0, -1):
        choice = choose_batch([QueueState("a", left, 0.0, ceiling)] if left else [], idle)
        if choice is None:
            break
        sizes.append(choice.size)
        left -= choice.size
    assert sum(sizes) == min(length, lanes * ceiling)
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == min(lanes, length)


@given(duration_ms=durations_ms, budget_ms=st.floats(0, 1e5))
def test_the_ceiling_is_a_measured_size_that_fits_into_the_budget(
    duration_ms: dict[int, float], budget_ms: float
) -> None:
    ceiling = choose_ceiling(duration_ms, budget_ms=budget_ms)
    assert ceiling == 1 or duration_ms[ceiling] <= budget_ms


@given(duration_ms=durations_ms)
def test_the_ceiling_gives_up_no_more_throughput_than_is_tolerated(duration_ms: dict[int, float]) -> None:
    ceiling = choose_ceiling(duration_ms, budget_ms=math.inf, tolerance=0.1)
    best = max(size / ms for size, ms in duration_ms.items())
    assert ceiling / duration_ms[ceiling] >= 0.9 * best


@given(
    single_ms=st.floats(0.01, 1e4),
    slowdown=st.dictionaries(st.sampled_from([2, 4, 8, 16, 32]), st.floats(1, 10)),
    budget_ms=st.floats(0, 1e6),
)
def test_where_batching_gains_nothing_images_run_alone(
    single_ms: float, slowdown: dict[int, float], budget_ms: float
) -> None:
    duration_ms = {1: single_ms, **{size: size * single_ms * factor for size, factor in slowdown.items()}}
    assert choose_ceiling(duration_ms, budget_ms=budget_ms) == 1


@given(shorter_ms=waits_ms, longer_ms=waits_ms, target_ms=waits_ms, remaining_ms=st.none() | waits_ms)
def test_whoever_would_wait_longer_is_not_let_in_before_whoever_would_wait_less(
    shorter_ms: float, longer_ms: float, target_ms: float, remaining_ms: float | None
) -> None:
    shorter_ms, longer_ms = sorted((shorter_ms, longer_ms))
    if has_to_shed(shorter_ms, target_ms=target_ms, remaining_ms=remaining_ms):
        assert has_to_shed(longer_ms, target_ms=target_ms, remaining_ms=remaining_ms)


@given(wait_ms=waits_ms, target_ms=waits_ms, remaining_ms=st.none() | waits_ms)
def test_nobody_who_would_be_in_time_is_refused_and_nobody_else_let_in(
    wait_ms: float, target_ms: float, remaining_ms: float | None
) -> None:
    is_in_time = wait_ms <= target_ms and (remaining_ms is None or wait_ms <= remaining_ms)
    assert has_to_shed(wait_ms, target_ms=target_ms, remaining_ms=remaining_ms) is not is_in_time
