from dataclasses import dataclass

import pytest

from dashboard.breaker import CircuitBreaker

COOL_DOWN_S = 2.0


@dataclass
class Clock:
    """A clock that a test moves."""

    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Line:
    """Something to call, which counts its calls and fails while it is cut."""

    is_cut: bool = False
    calls: int = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.is_cut:
            raise ConnectionError("cut")
        return "hello"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker((ConnectionError,), cool_down_s=COOL_DOWN_S, clock_s=clock)


def fail(breaker: CircuitBreaker, line: Line) -> None:
    with pytest.raises(ConnectionError):
        breaker.call(line)


def test_calls_go_through_while_they_succeed(breaker: CircuitBreaker) -> None:
    line = Line()
    assert [breaker.call(line), breaker.call(line)] == ["hello", "hello"]


def test_after_a_failure_nothing_is_asked_until_it_has_cooled_down(breaker: CircuitBreaker, clock: Clock) -> None:
    line = Line(is_cut=True)
    fail(breaker, line)
    fail(breaker, line)
    assert line.calls == 1
    clock.now_s += COOL_DOWN_S
    fail(breaker, line)
    assert line.calls == 2


def test_only_one_caller_tries_again_while_the_others_still_fail_at_once(breaker: CircuitBreaker, clock: Clock) -> None:
    line = Line(is_cut=True)
    fail(breaker, line)
    clock.now_s += COOL_DOWN_S

    def try_and_look_around() -> str:
        fail(breaker, line)
        return "back"

    assert breaker.call(try_and_look_around) == "back"
    assert line.calls == 1


def test_a_success_closes_it(breaker: CircuitBreaker, clock: Clock) -> None:
    line = Line(is_cut=True)
    fail(breaker, line)
    line.is_cut = False
    clock.now_s += COOL_DOWN_S
    assert breaker.call(line) == "hello"
    assert breaker.call(line) == "hello"


def test_it_may_be_told_to_forget(breaker: CircuitBreaker) -> None:
    line = Line(is_cut=True)
    fail(breaker, line)
    breaker.close()
    fail(breaker, line)
    assert line.calls == 2


def test_other_errors_do_not_open_it(breaker: CircuitBreaker) -> None:
    def refuse() -> None:
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            breaker.call(refuse)
    assert breaker.call(Line()) == "hello"
