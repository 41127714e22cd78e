from collections.abc import Callable

import pytest

from lightbox_client.breaker import CircuitBreaker
from tests.fakes.clock import FakeClock


def make_breaker(clock: FakeClock) -> CircuitBreaker:
    return CircuitBreaker(max_failures=3, min_pause_s=1.0, max_pause_s=3.0, clock=clock)


def fail(breaker: CircuitBreaker) -> bool:
    """One call, alone."""
    return breaker.fail(breaker.start())


def open_breaker(clock: FakeClock) -> CircuitBreaker:
    breaker = make_breaker(clock)
    for _ in range(3):
        fail(breaker)
    return breaker


def advance_to_trial(clock: FakeClock, breaker: CircuitBreaker, pause_s: float) -> None:
    """Let the pause pass: it allows nothing before its end, and then one trial."""
    clock.advance(pause_s - 0.01)
    assert not breaker.allows()
    clock.advance(0.01)
    assert breaker.allows()


def test_it_opens_at_the_last_of_so_many_failures_in_a_row_and_says_so_once() -> None:
    breaker = make_breaker(FakeClock())
    fail(breaker)
    fail(breaker)
    assert not breaker.succeed()  # starts the count anew
    assert [fail(breaker) for _ in range(5)] == [False, False, True, False, False]
    assert not breaker.allows()


def test_calls_that_were_under_way_together_count_once() -> None:
    breaker = make_breaker(FakeClock())
    for _ in range(2):
        together = [breaker.start() for _ in range(100)]
        for started in together:
            assert not breaker.fail(started)
    assert not breaker.is_open
    assert fail(breaker)


def test_a_call_that_began_before_a_success_and_fails_after_it_counts_as_the_first() -> None:
    breaker = make_breaker(FakeClock())
    started = breaker.start()
    breaker.succeed()
    breaker.fail(started)
    assert not fail(breaker)
    assert fail(breaker)


def test_an_open_one_allows_one_trial_after_each_pause_which_doubles_up_to_a_limit() -> None:
    clock = FakeClock()
    breaker = open_breaker(clock)
    for pause_s in (1, 2, 3, 3):
        advance_to_trial(clock, breaker, pause_s)
        assert not breaker.allows()
        fail(breaker)


def test_failures_under_way_as_it_opened_do_not_lengthen_the_pause() -> None:
    clock = FakeClock()
    breaker = make_breaker(clock)
    fail(breaker)
    fail(breaker)
    for started in [breaker.start() for _ in range(100)]:
        breaker.fail(started)
    advance_to_trial(clock, breaker, 1)


@pytest.mark.parametrize(("successes", "pauses_s"), [(1, (1, 2, 3, 3)), (2, (1, 1, 1))])
def test_a_trial_that_succeeds_closes_it_and_another_success_makes_the_next_pause_short_again(
    successes: int, pauses_s: tuple[float, ...]
) -> None:
    clock = FakeClock()
    breaker = open_breaker(clock)
    for pause_s in pauses_s:
        advance_to_trial(clock, breaker, pause_s)
        assert [breaker.succeed() for _ in range(successes)] == [True, False][:successes]
        assert breaker.allows()
        for _ in range(3):
            fail(breaker)


class Line:
    """Counts its calls, and fails while it is cut."""

    def __init__(self, *, is_cut: bool = False) -> None:
        self.is_cut = is_cut
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.is_cut:
            raise ConnectionError("cut")
        return "hello"


def call(breaker: CircuitBreaker, function: Callable[[], str]) -> str:
    return breaker.call(function, (ConnectionError,))


def fail_to_call(breaker: CircuitBreaker, line: Line) -> None:
    with pytest.raises(ConnectionError):
        call(breaker, line)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def impatient(clock: FakeClock) -> CircuitBreaker:
    """Opens at the first failure, and always pauses for two seconds."""
    return CircuitBreaker(max_failures=1, min_pause_s=2.0, max_pause_s=2.0, clock=clock)


def test_while_open_a_call_raises_the_last_failure_and_calls_nothing(
    impatient: CircuitBreaker, clock: FakeClock
) -> None:
    line = Line(is_cut=True)
    fail_to_call(impatient, line)
    fail_to_call(impatient, line)
    assert line.calls == 1
    clock.advance(2)
    fail_to_call(impatient, line)
    assert line.calls == 2
    line.is_cut = False
    clock.advance(2)
    assert [call(impatient, line), call(impatient, line)] == ["hello", "hello"]


def test_during_a_trial_other_calls_still_raise_and_its_pause_starts_at_its_end(
    impatient: CircuitBreaker, clock: FakeClock
) -> None:
    line = Line(is_cut=True)
    fail_to_call(impatient, line)
    clock.advance(2)

    def time_out() -> str:
        fail_to_call(impatient, line)
        clock.advance(10)
        raise ConnectionError("timed out")

    with pytest.raises(ConnectionError, match="timed out"):
        call(impatient, time_out)
    clock.advance(1)
    fail_to_call(impatient, line)
    assert line.calls == 1


def test_other_errors_do_not_open_it(impatient: CircuitBreaker) -> None:
    def refuse() -> str:
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            call(impatient, refuse)
