from hypothesis import given
from hypothesis import strategies as st

from bento_service.load_test.survey import GROWTH, LADDER, PRECISION, Attempt, best_rate, choose_rate

CAPACITY = 100.0


def search(limit_per_s: float, steps: int) -> list[Attempt]:
    """The rates that are offered to a server which keeps every rate up to its limit."""
    attempts: list[Attempt] = []
    while len(attempts) < steps and (rate := choose_rate(attempts, CAPACITY)) is not None:
        attempts.append(Attempt(rate, rate <= limit_per_s))
    return attempts


def test_the_ladder_comes_first() -> None:
    offered = [attempt.rate_per_s for attempt in search(limit_per_s=110, steps=len(LADDER))]

    assert offered == [share * CAPACITY for share in LADDER]


def test_the_ladder_ends_after_two_rates_that_were_not_kept() -> None:
    attempts = search(limit_per_s=30, steps=4)

    assert [attempt.is_kept for attempt in attempts[:3]] == [True, False, False]
    assert 25 < attempts[3].rate_per_s < 50


def test_a_server_that_keeps_every_rate_is_offered_more() -> None:
    attempts = search(limit_per_s=1e6, steps=len(LADDER) + 1)

    assert attempts[-1].rate_per_s == LADDER[-1] * CAPACITY * GROWTH


@given(limit=st.floats(0.5, 1000))
def test_any_limit_is_found_to_three_per_cent(limit: float) -> None:
    attempts = search(limit, steps=40)

    best = best_rate(attempts)
    assert best is not None
    assert best <= limit <= best * PRECISION
    assert len(attempts) < 40


@given(limit=st.floats(0, 1000))
def test_no_rate_is_offered_twice(limit: float) -> None:
    offered = [attempt.rate_per_s for attempt in search(limit, steps=30)]

    assert len(set(offered)) == len(offered)


def test_a_rate_that_was_not_kept_below_one_that_was_is_taken_for_chance() -> None:
    attempts = [Attempt(rate, rate != 50) for rate in (25.0, 50.0, 70.0, 85.0, 100.0)]

    assert best_rate(attempts) == 100
    assert choose_rate(attempts, CAPACITY) == 125
