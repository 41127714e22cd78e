import math

from hypothesis import given
from hypothesis import strategies as st

from bento_service.domain.requests import Priority
from bento_service.domain.runner import EngineMode
from bento_service.scheduling.cost_model import CostModel
from bento_service.scheduling.policy import (
    BULK_SHARE,
    Hold,
    Lanes,
    Line,
    Outlook,
    Run,
    choose_bounds,
    choose_size,
    decide,
)

NOW_S = 1000.0
TARGET_MS = 1000.0
FLAT = CostModel({1: 10.0, 2: 19.6, 4: 39.0, 8: 78.0})
"""A CPU's: batches gain nothing."""
STEEP = CostModel({1: 2.0, 2: 2.1, 4: 2.4, 8: 3.0, 16: 4.2, 32: 7.0})
"""A GPU's: they gain almost everything."""
BUCKETS = CostModel({1: 2.0, 8: 3.0, 32: 7.0}, bucket_sizes=(1, 8, 32))
LATENCY = CostModel({1: 6.0})

curves = st.sampled_from([FLAT, STEEP, BUCKETS])
all_curves = st.builds(
    lambda throughput, has_latency: {
        EngineMode.THROUGHPUT: throughput,
        **({EngineMode.LATENCY: LATENCY} if has_latency else {}),
    },
    curves,
    st.booleans(),
)
lines = st.lists(
    st.builds(
        lambda sizes, **rest: Line(knee=min(sizes), ceiling=max(sizes), **rest),
        model=st.sampled_from("abc"),
        priority=st.sampled_from(Priority),
        length=st.integers(1, 100),
        oldest_s=st.floats(NOW_S - 2, NOW_S),
        sizes=st.tuples(st.integers(1, 32), st.integers(1, 32)),
        curves=all_curves,
        arrivals_per_s=st.floats(0, 1e5),
    ),
    unique_by=lambda line: (line.model, line.priority),
    max_size=6,
)
lanes = st.integers(1, 8).flatmap(
    lambda total: st.integers(1, total).flatmap(
        lambda idle: st.builds(
            Lanes,
            total=st.just(total),
            idle=st.just(idle),
            ends_s=st.lists(st.floats(NOW_S - 0.1, NOW_S + 0.5), min_size=total - idle, max_size=total - idle),
            idle_since_s=st.floats(NOW_S - 0.1, NOW_S),
            bulk_ran_s=st.just(-math.inf) | st.floats(NOW_S - 2, NOW_S),
        )
    )
)
outlooks = st.integers(0, 4).flatmap(
    lambda expected: st.builds(
        Outlook,
        expected=st.just(expected),
        expected_interactive=st.integers(0, expected),
        arrivals_per_s=st.floats(0, 1e5),
    )
)
durations_ms = st.dictionaries(st.sampled_from([2, 4, 8, 16, 32, 64]), st.floats(0.01, 1e5)).flatmap(
    lambda rest: st.floats(0.01, 1e5).map(lambda single: {1: single, **rest})
)


def choose(lines: list[Line], lanes: Lanes, outlook: Outlook) -> Run | Hold | None:
    return decide(lines, lanes, outlook, target_ms=TARGET_MS, now_s=NOW_S)


def find_line(lines: list[Line], decision: Run | Hold) -> Line:
    """Return the one line that a decision is about."""
    [line] = [line for line in lines if (line.model, line.priority) == (decision.model, decision.priority)]
    return line


def is_overdue(line: Line, lanes: Lanes) -> bool:
    """Tell whether interactive work has kept a bulk line from the lanes for as long as the target."""
    since_s = NOW_S - TARGET_MS / 1000
    return line.priority is Priority.BULK and max(line.oldest_s, lanes.bulk_ran_s) <= since_s


situations = {"lines": lines.filter(bool), "lanes": lanes, "outlook": outlooks}


def test_a_free_lane_rests_only_where_nothing_waits() -> None:
    assert choose([], Lanes(1, 1, (), NOW_S), Outlook(0, 0, 0)) is None


@given(**situations)
def test_a_batch_is_no_larger_than_line_ceiling_and_what_each_lane_could_take(
    lines: list[Line], lanes: Lanes, outlook: Outlook
) -> None:
    decision = choose(lines, lanes, outlook)
    if isinstance(decision, Run):
        line = find_line(lines, decision)
        assert 1 <= decision.size <= min(line.length, line.ceiling)
        assert decision.size <= line.knee or line.length - decision.size >= lanes.total * decision.size
        if decision.mode is EngineMode.LATENCY:
            assert [line.length for line in lines] == [1]
            assert lanes.idle == lanes.total
            assert outlook.expected == 0
            assert EngineMode.LATENCY in lines[0].curves


@given(**situations)
def test_a_hold_is_bounded_leaves_time_to_run_and_never_lets_the_device_rest(
    lines: list[Line], lanes: Lanes, outlook: Outlook
) -> None:
    decision = choose(lines, lanes, outlook)
    assert decision is not None
    if isinstance(decision, Hold):
        line = find_line(lines, decision)
        curve = line.curves[EngineMode.THROUGHPUT]
        is_bulk = decision.priority is Priority.BULK
        latest_s = max(line.oldest_s, lanes.idle_since_s) + curve.predict_ms(line.ceiling) / 1000
        assert NOW_S < decision.until_s <= latest_s
        assert is_bulk or (decision.until_s - line.oldest_s) * 1000 + curve.predict_ms(line.length) <= TARGET_MS / 2
        is_busy = any(end_s >= decision.until_s for end_s in lanes.ends_s)
        assert is_busy or (is_bulk and lanes.idle == 1 < lanes.total and outlook.expected_interactive)


@given(**situations)
def test_interactive_work_goes_before_bulk_and_the_oldest_first(
    lines: list[Line], lanes: Lanes, outlook: Outlook
) -> None:
    lines = [line for line in lines if not is_overdue(line, lanes)] or lines[:1]
    decision = choose(lines, lanes, outlook)
    assert decision is not None
    is_bulk = all(line.priority is Priority.BULK for line in lines)
    assert decision.priority is (Priority.BULK if is_bulk else Priority.INTERACTIVE)
    oldest_s = {line.model: line.oldest_s for line in lines if line.priority is decision.priority}
    assert oldest_s[decision.model] == min(oldest_s.values())


@given(**situations)
def test_overdue_bulk_work_runs_at_once_and_the_oldest_first(lines: list[Line], lanes: Lanes, outlook: Outlook) -> None:
    overdue = [line for line in lines if is_overdue(line, lanes)]
    decision = choose(lines, lanes, outlook)
    if overdue:
        assert isinstance(decision, Run)
        assert decision.priority is Priority.BULK
        [line] = [line for line in overdue if line.model == decision.model]
        assert line.oldest_s == min(line.oldest_s for line in overdue)


@given(**situations)
def test_within_the_target_after_a_bulk_batch_interactive_work_goes_first(
    lines: list[Line], lanes: Lanes, outlook: Outlook
) -> None:
    decision = choose(lines, lanes._replace(bulk_ran_s=NOW_S - TARGET_MS / 2000), outlook)
    assert decision is not None
    if any(line.priority is Priority.INTERACTIVE for line in lines):
        assert decision.priority is Priority.INTERACTIVE


@given(**situations)
def test_a_bulk_batch_takes_no_longer_than_its_share_or_one_image(
    lines: list[Line], lanes: Lanes, outlook: Outlook
) -> None:
    bulk = [line._replace(priority=Priority.BULK) for line in lines[:1]]
    decision = choose(bulk, lanes, outlook)
    if isinstance(decision, Run) and decision.size > 1:
        assert bulk[0].curves[EngineMode.THROUGHPUT].predict_ms(decision.size) <= BULK_SHARE * TARGET_MS


@given(**situations)
def test_where_batching_gains_nothing_no_interactive_image_is_held(
    lines: list[Line], lanes: Lanes, outlook: Outlook
) -> None:
    flat = [line._replace(curves={EngineMode.THROUGHPUT: FLAT}, priority=Priority.INTERACTIVE) for line in lines[:1]]
    assert isinstance(choose(flat, lanes, outlook), Run)


@given(length=st.integers(1, 500), ceiling=st.integers(1, 256), lanes=st.integers(1, 64))
def test_idle_lanes_share_a_backlog_and_leave_nothing_that_they_could_run(
    length: int, ceiling: int, lanes: int
) -> None:
    proportional = CostModel({1: 10.0})
    left, sizes = length, []
    for idle in range(lanes, 0, -1):
        if not left:
            break
        sizes.append(choose_size(proportional, length=left, limit=ceiling, idle_lanes=idle))
        left -= sizes[-1]
    assert sum(sizes) == min(length, lanes * ceiling)
    # Three quarters of a batch are no split worth making.
    assert len(sizes) >= min(lanes, math.ceil(length / ceiling))


@given(duration_ms=durations_ms, budget_ms=st.floats(0, 1e5))
def test_knee_and_ceiling_are_measured_sizes_that_fit_into_the_budget(
    duration_ms: dict[int, float], budget_ms: float
) -> None:
    knee, ceiling = choose_bounds(duration_ms, budget_ms=budget_ms)
    assert knee <= ceiling
    assert all(size == 1 or duration_ms[size] <= budget_ms for size in (knee, ceiling))


@given(duration_ms=durations_ms)
def test_knee_and_ceiling_give_up_a_tenth_of_the_throughput_at_most(duration_ms: dict[int, float]) -> None:
    knee, ceiling = choose_bounds(duration_ms, budget_ms=math.inf)
    assert knee / duration_ms[knee] >= 0.9 * max(size / ms for size, ms in duration_ms.items())
    turn_ms = 0.2 * duration_ms[1]
    rates = {size: size / (ms + turn_ms) for size, ms in duration_ms.items() if knee <= size <= ceiling}
    assert min(rates.values()) >= 0.9 * rates[knee]


@given(
    single_ms=st.floats(0.01, 1e4),
    slowdown=st.dictionaries(st.sampled_from([2, 4, 8, 16, 32]), st.floats(1, 10)),
    budget_ms=st.floats(0, 1e6),
)
def test_where_batching_gains_nothing_the_knee_is_a_single_image(
    single_ms: float, slowdown: dict[int, float], budget_ms: float
) -> None:
    duration_ms = {1: single_ms, **{size: size * single_ms * factor for size, factor in slowdown.items()}}
    knee, _ = choose_bounds(duration_ms, budget_ms=budget_ms)
    assert knee == 1
