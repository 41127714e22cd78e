import pytest

from bento_service.domain.requests import Priority
from bento_service.domain.runner import EngineMode
from bento_service.scheduling.cost_model import CostModel
from bento_service.scheduling.policy import Hold, Lanes, Line, Outlook, Run, choose_bounds, choose_size, decide

NOW_S = 1000.0
FLAT = CostModel({1: 10.0, 2: 20.0, 4: 40.0, 8: 80.0})
STEEP = CostModel({1: 2.0, 2: 2.1, 4: 2.4, 8: 3.0, 16: 4.2, 32: 7.0})
LATENCY = CostModel({1: 6.0})
QUIET = Outlook(expected=0, expected_interactive=0, arrivals_per_s=4.0)
IDLE = Lanes(total=2, idle=2, ends_s=(), idle_since_s=NOW_S)
ONE_BUSY = Lanes(total=2, idle=1, ends_s=(NOW_S + 0.002,), idle_since_s=NOW_S)


def make_line(
    length: int = 1,
    *,
    curve: CostModel = FLAT,
    latency: CostModel | None = LATENCY,
    waited_ms: float = 0.0,
    ceiling: int = 32,
    knee: int | None = None,
    priority: Priority = Priority.INTERACTIVE,
) -> Line:
    curves = {EngineMode.THROUGHPUT: curve}
    if latency is not None:
        curves[EngineMode.LATENCY] = latency
    return Line("a", priority, length, NOW_S - waited_ms / 1000, ceiling, knee or ceiling, curves)


def choose(line: Line, lanes: Lanes = IDLE, outlook: Outlook = QUIET) -> Run | Hold | None:
    line = line._replace(arrivals_per_s=outlook.arrivals_per_s)
    return decide([line], lanes, outlook, target_ms=1000, now_s=NOW_S)


@pytest.mark.parametrize(
    ("line", "lanes", "outlook", "mode"),
    [
        pytest.param(make_line(), IDLE, QUIET, EngineMode.LATENCY, id="it is alone"),
        pytest.param(make_line(2), IDLE, QUIET, EngineMode.THROUGHPUT, id="another one waits"),
        pytest.param(make_line(), ONE_BUSY, QUIET, EngineMode.THROUGHPUT, id="another one runs"),
        pytest.param(make_line(), IDLE, Outlook(1, 0, 4.0), EngineMode.THROUGHPUT, id="another one is being decoded"),
        pytest.param(make_line(), IDLE, Outlook(0, 0, 200.0), EngineMode.THROUGHPUT, id="the next one comes soon"),
        pytest.param(make_line(latency=None), IDLE, QUIET, EngineMode.THROUGHPUT, id="the engine has no such mode"),
        pytest.param(make_line(latency=CostModel({1: 9.9})), IDLE, QUIET, EngineMode.THROUGHPUT, id="it gains nothing"),
    ],
)
def test_a_lone_image_gets_every_thread(line: Line, lanes: Lanes, outlook: Outlook, mode: EngineMode) -> None:
    run = choose(line, lanes, outlook)
    assert isinstance(run, Run)
    assert run.mode is mode


def test_a_lane_holds_where_a_larger_batch_gains_and_another_lane_keeps_the_device_busy() -> None:
    hold = choose(make_line(1, curve=STEEP), ONE_BUSY, Outlook(0, 0, 5000.0))
    assert isinstance(hold, Hold)
    assert hold.until_s == pytest.approx(NOW_S + 0.002)


@pytest.mark.parametrize(
    ("line", "lanes", "outlook"),
    [
        pytest.param(make_line(curve=STEEP, latency=None), IDLE, Outlook(0, 0, 5000.0), id="the device would rest"),
        pytest.param(make_line(curve=STEEP), ONE_BUSY, Outlook(0, 0, 300.0), id="too few images come"),
        pytest.param(make_line(curve=FLAT), ONE_BUSY, Outlook(0, 0, 5000.0), id="a larger batch gains nothing"),
        pytest.param(make_line(curve=STEEP, waited_ms=5), ONE_BUSY, Outlook(0, 0, 5000.0), id="it waited long enough"),
        pytest.param(make_line(curve=STEEP, ceiling=1), ONE_BUSY, Outlook(0, 0, 5000.0), id="the batch is full"),
    ],
)
def test_a_lane_takes_what_waits_at_once_where_holding_does_not_pay(line: Line, lanes: Lanes, outlook: Outlook) -> None:
    assert isinstance(choose(line, lanes, outlook), Run)


def test_a_lane_holds_for_what_its_own_line_gains_and_not_while_another_line_waits() -> None:
    busy = Outlook(0, 0, 5000.0)
    growing = make_line(1, curve=STEEP)._replace(arrivals_per_s=5000.0)
    other = make_line(1, curve=STEEP)._replace(model="b")

    assert isinstance(decide([growing], ONE_BUSY, busy, target_ms=1000, now_s=NOW_S), Hold)
    assert isinstance(decide([other], ONE_BUSY, busy, target_ms=1000, now_s=NOW_S), Run)
    assert isinstance(decide([growing, other], ONE_BUSY, busy, target_ms=1000, now_s=NOW_S), Run)


def test_a_tight_target_leaves_no_time_to_hold() -> None:
    line = make_line(1, curve=STEEP, waited_ms=1)._replace(arrivals_per_s=5000.0)
    assert isinstance(decide([line], ONE_BUSY, Outlook(0, 0, 5000.0), target_ms=5, now_s=NOW_S), Run)


@pytest.mark.parametrize(("waited_ms", "idle_ms"), [(50, 4), (4, 10_000)], ids=["the lane came free", "the image came"])
def test_bulk_work_is_held_for_an_expected_interactive_image_as_long_as_it_would_run(
    waited_ms: float, idle_ms: float
) -> None:
    bulk = make_line(1, priority=Priority.BULK, waited_ms=waited_ms)
    coming = Outlook(1, 1, 4.0)
    lanes = Lanes(total=2, idle=1, ends_s=(NOW_S + 0.005,), idle_since_s=NOW_S - idle_ms / 1000)
    hold = choose(bulk, lanes, coming)
    assert isinstance(hold, Hold)
    assert hold.until_s == pytest.approx(NOW_S + 0.006)
    assert isinstance(choose(bulk._replace(oldest_s=NOW_S - 1), lanes._replace(idle_since_s=NOW_S - 0.01), coming), Run)
    assert isinstance(choose(bulk, lanes, Outlook(1, 0, 4.0)), Run)
    assert isinstance(choose(bulk, Lanes(1, 1, (), NOW_S), coming), Run)


def test_bulk_batches_are_smaller_than_interactive_ones_of_the_same_line() -> None:
    sizes = {}
    for priority in Priority:
        run = choose(make_line(8, priority=priority), Lanes(1, 1, (), NOW_S))
        assert isinstance(run, Run)
        sizes[priority] = run.size
    assert sizes == {Priority.INTERACTIVE: 8, Priority.BULK: 5}


@pytest.mark.parametrize(
    ("length", "lanes", "size"),
    [
        pytest.param(2, 2, 1, id="a short backlog is taken one by one"),
        pytest.param(6, 2, 2, id="both lanes could take as much, and as much is left"),
        pytest.param(24, 2, 8, id="a long backlog is taken in full batches"),
        pytest.param(500, 2, 8, id="never more than the ceiling"),
        pytest.param(24, 16, 1, id="many lanes have little each"),
        pytest.param(6, 1, 3, id="one lane takes half"),
    ],
)
def test_a_backlog_is_taken_in_batches_beyond_what_gains(length: int, lanes: int, size: int) -> None:
    busy = Lanes(lanes, 1, (NOW_S + 0.005,) * (lanes - 1), NOW_S)
    run = choose(make_line(length, ceiling=8, knee=1), busy)
    assert isinstance(run, Run)
    assert run.size == size


@pytest.mark.parametrize(
    ("duration_ms", "bounds"),
    [
        pytest.param({1: 5.9, 2: 13.4, 4: 27.2, 8: 55.1}, (1, 8), id="turns outweigh what a larger batch loses"),
        pytest.param({1: 5.9, 2: 13.4, 4: 40.0, 8: 55.1}, (1, 2), id="no size is skipped"),
        pytest.param({1: 2.0, 2: 2.1, 4: 2.4, 8: 4.0, 16: 8.0}, (8, 16), id="from the knee on"),
    ],
)
def test_the_ceiling_counts_turns_and_the_knee_does_not(duration_ms: dict[int, float], bounds: tuple[int, int]) -> None:
    assert choose_bounds(duration_ms, budget_ms=1000) == bounds


def test_a_backlog_does_not_shrink_the_batches_that_gain() -> None:
    run = choose(make_line(5, curve=STEEP, ceiling=32, knee=8), ONE_BUSY)
    assert isinstance(run, Run)
    assert run.size == 5


@pytest.mark.parametrize(("curve", "size"), [(FLAT, 4), (STEEP, 8)])
def test_two_idle_lanes_split_a_backlog_only_where_half_of_it_takes_much_less(curve: CostModel, size: int) -> None:
    assert choose_size(curve, length=8, limit=32, idle_lanes=2) == size


@pytest.mark.parametrize(("length", "size"), [(7, 7), (8, 8), (9, 8), (30, 30), (40, 32)])
def test_a_batch_just_above_a_full_bucket_is_cut_down_to_it(length: int, size: int) -> None:
    curve = CostModel({1: 2.0, 8: 3.0, 32: 7.0}, bucket_sizes=(1, 8, 32))
    assert choose_size(curve, length=length, limit=32, idle_lanes=1) == size
