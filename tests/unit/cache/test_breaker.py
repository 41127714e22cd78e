from bento_service.cache.breaker import CircuitBreaker
from tests.fakes.clock import FakeClock


def make_breaker(clock: FakeClock) -> CircuitBreaker:
    return CircuitBreaker(max_failures=3, min_pause_s=1.0, max_pause_s=3.0, clock=clock)


def fail(breaker: CircuitBreaker) -> bool:
    """One try, alone."""
    return breaker.fail(breaker.begin())


def open_breaker(clock: FakeClock) -> CircuitBreaker:
    breaker = make_breaker(clock)
    for _ in range(3):
        fail(breaker)
    return breaker


def test_it_opens_at_the_last_of_so_many_failures_in_a_row_and_says_so_once() -> None:
    breaker = make_breaker(FakeClock())
    assert [fail(breaker) for _ in range(5)] == [False, False, True, False, False]
    assert not breaker.lets_through()


def test_a_success_in_between_starts_the_count_anew() -> None:
    breaker = make_breaker(FakeClock())
    fail(breaker)
    fail(breaker)
    assert not breaker.succeed()
    fail(breaker)
    assert breaker.lets_through()


def test_tries_that_were_under_way_together_count_once() -> None:
    breaker = make_breaker(FakeClock())
    for _ in range(2):
        together = [breaker.begin() for _ in range(100)]
        for begun in together:
            assert not breaker.fail(begun)
    assert not breaker.is_open
    assert fail(breaker)


def test_a_try_that_began_before_another_one_succeeded_and_fails_after_it_counts_as_the_first() -> None:
    breaker = make_breaker(FakeClock())
    begun = breaker.begin()
    breaker.succeed()
    breaker.fail(begun)
    assert not fail(breaker)
    assert fail(breaker)


def test_an_open_one_lets_one_try_through_after_each_pause_which_doubles_up_to_a_limit() -> None:
    clock = FakeClock()
    breaker = open_breaker(clock)
    for pause_s in (1, 2, 3, 3):
        clock.advance(pause_s - 0.01)
        assert not breaker.lets_through()
        clock.advance(0.01)
        assert breaker.lets_through()
        assert not breaker.lets_through()
        fail(breaker)


def test_many_failures_that_were_under_way_as_it_opened_do_not_lengthen_the_pause() -> None:
    clock = FakeClock()
    breaker = make_breaker(clock)
    fail(breaker)
    fail(breaker)
    for begun in [breaker.begin() for _ in range(100)]:
        breaker.fail(begun)
    clock.advance(1)
    assert breaker.lets_through()


def test_a_try_that_succeeds_closes_it_and_after_another_one_the_next_pause_is_short_again() -> None:
    clock = FakeClock()
    breaker = open_breaker(clock)
    clock.advance(1)
    assert breaker.lets_through()
    assert breaker.succeed()
    assert breaker.lets_through()
    assert not breaker.succeed()
    for _ in range(3):
        fail(breaker)
    clock.advance(1)
    assert breaker.lets_through()


def test_pauses_go_on_to_double_where_nothing_but_the_try_that_closed_it_succeeds() -> None:
    clock = FakeClock()
    breaker = open_breaker(clock)
    for pause_s in (1, 2, 3, 3):
        clock.advance(pause_s - 0.01)
        assert not breaker.lets_through()
        clock.advance(0.01)
        assert breaker.lets_through()
        assert breaker.succeed()
        for _ in range(3):
            fail(breaker)
