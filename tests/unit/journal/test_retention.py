from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_service.journal.retention import DAY, ClockWatch, Pruning
from tests.fakes.clock import FakeClock
from tests.unit.journal.receipts import NOW


@given(
    ahead=st.integers(min_value=-20_000, max_value=20_000),
    passed=st.integers(min_value=0, max_value=60),
    kept=st.integers(min_value=1, max_value=400),
    recorded=st.integers(min_value=1, max_value=60),
)
def test_a_clock_just_after_a_leap_deletes_at_most_a_week_too_much(
    ahead: int, passed: int, kept: int, recorded: int
) -> None:
    midnight = NOW.replace(hour=0)
    right = [midnight - number * DAY for number in range(recorded)]
    wrong = [midnight + (ahead + number) * DAY for number in range(passed + 1)]
    pruning = Pruning(wrong[-1] + DAY / 2, timedelta(0), (*right, *wrong))

    cut = pruning.find_cut(kept * DAY)

    due = midnight + (passed - kept + 9) * DAY
    assert cut is None or not [day for day in right if due < day + DAY <= cut]


@pytest.mark.parametrize(
    ("days_ago", "steady_h", "is_trusted"),
    [((35, 34, 0), 32, False), ((35, 34, 0), 34, True), ((40, 33, 26, 19, 12, 5), 0, True)],
)
def test_after_a_gap_of_over_a_week_the_clock_must_be_steady(
    days_ago: tuple[int, ...], steady_h: int, is_trusted: bool
) -> None:
    days = tuple(NOW.replace(hour=0) - number * DAY for number in days_ago)

    cut = Pruning(NOW, timedelta(hours=steady_h), days).find_cut(30 * DAY)

    assert cut == (NOW - 30 * DAY if is_trusted else None)


def test_a_clock_is_steady_from_its_last_leap_on_and_may_drift() -> None:
    clock, moment = FakeClock(), NOW
    watch = ClockWatch(lambda: moment, clock)

    def advance(elapsed: timedelta, shown: timedelta) -> timedelta:
        nonlocal moment
        clock.advance(elapsed.total_seconds())
        moment += shown
        return watch.steady_for()

    assert advance(DAY, DAY + timedelta(minutes=20)) == DAY
    assert advance(DAY, DAY - timedelta(minutes=40)) == 2 * DAY
    assert advance(DAY, 3650 * DAY) == timedelta(0)
    assert advance(DAY, DAY) == DAY
    assert advance(DAY, -3650 * DAY) == timedelta(0)
