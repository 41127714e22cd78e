from hypothesis import given
from hypothesis import strategies as st

from bento_service.http.connection.rejection_pacer import (
    BURST_S,
    CPU_SHARE,
    MAX_DELAY_S,
    MAX_DELAYED,
    REJECTION_CPU_S,
    RejectionPacer,
)
from tests.fakes.clock import FakeClock

CPUS = 2
RATE_PER_S = CPU_SHARE * CPUS / REJECTION_CPU_S


def pacer_on(clock: FakeClock) -> RejectionPacer:
    return RejectionPacer(cpus=CPUS, clock=clock)


def test_rejections_at_the_rate_are_never_delayed() -> None:
    clock = FakeClock()
    pacer = pacer_on(clock)

    for _ in range(2000):
        assert pacer.reserve(1.0) == 0
        clock.advance(1 / RATE_PER_S)


def test_simultaneous_rejections_are_sent_at_the_rate_and_in_order() -> None:
    pacer = pacer_on(FakeClock())
    delays_s = [pacer.reserve(1.0) for _ in range(int(RATE_PER_S))]

    delayed_s = [delay_s for delay_s in delays_s if delay_s > 0]
    assert delayed_s == sorted(delayed_s)
    assert len(delays_s) - len(delayed_s) <= BURST_S * RATE_PER_S + 2
    assert abs(delayed_s[-1] - (1 - BURST_S)) < 0.01


@given(st.lists(st.tuples(st.floats(0, 0.05), st.floats(0.01, 60)), min_size=1, max_size=400))
def test_no_rejection_is_delayed_by_more_than_its_retry_after(steps: list[tuple[float, float]]) -> None:
    clock = FakeClock()
    pacer = pacer_on(clock)
    for pause_s, retry_after_s in steps:
        clock.now_s += pause_s / 100
        assert 0 <= pacer.reserve(retry_after_s) <= min(retry_after_s, MAX_DELAY_S)


def test_clients_that_retry_at_once_are_rejected_at_the_rate() -> None:
    clock = FakeClock()
    pacer = pacer_on(clock)
    due_s = [clock.now_s] * 200
    end_s = clock.now_s + 10
    refused = 0
    while min(due_s) < end_s:
        clock.now_s = min(due_s)
        due_s[due_s.index(clock.now_s)] = clock.now_s + max(pacer.reserve(1.0), 0.001)
        refused += 1

    assert abs(refused / 10 / RATE_PER_S - 1) < 0.1


def test_after_an_overload_a_single_rejection_is_sent_at_once() -> None:
    clock = FakeClock()
    pacer = pacer_on(clock)
    while pacer.reserve(1.0) < 0.9:
        pass
    clock.now_s += 1.0

    assert pacer.reserve(1.0) == 0


def test_a_rejection_beyond_those_that_may_be_delayed_is_sent_at_once() -> None:
    clock = FakeClock()
    pacer = pacer_on(clock)
    delays_s = [pacer.reserve(60.0) for _ in range(MAX_DELAYED + 500)]

    assert sum(delay_s > 0 for delay_s in delays_s) == MAX_DELAYED
    assert delays_s[-1] == 0
    clock.now_s += MAX_DELAY_S
    assert any(pacer.reserve(60.0) > 0 for _ in range(500))
