from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_service.load_test.figures import RunFigures
from bento_service.load_test.result import LoadResult
from bento_service.load_test.survey import (
    GROWTH,
    LADDER,
    PRECISION,
    Attempt,
    Confidence,
    Limit,
    ServiceCapacity,
    Survey,
    SurveyPlan,
    best_rate,
    choose_rate,
    find_bottleneck,
    survey,
)
from tests.fakes.clock import FakeClock
from tests.unit.load_test.runs import make_facts, make_run

CAPACITY = 100.0
STATIONS = ServiceCapacity(decode_threads=2, lanes=2)
ANSWERS_MS = [0.0] * 1000


@dataclass
class FakeGenerator:
    """A server that takes `CAPACITY` images a second and refuses what is more; the clock goes on by each run."""

    clock: FakeClock = field(default_factory=FakeClock)
    interrupted_at: int | None = None
    closed: list[int] = field(default_factory=list)
    offered: list[float] = field(default_factory=list)

    def run_closed(self, connections: int, duration_s: float) -> LoadResult:
        self._go_on(duration_s)
        self.closed.append(connections)
        latencies_ms = [10.0] * round(min(CAPACITY, connections * 40) * duration_s)
        facts = make_facts(inference_ms=19)
        return make_run(latencies_ms, offered_per_s=None, duration_s=duration_s, connections=connections, facts=facts)

    def run_open(self, rate_per_s: float, duration_s: float) -> LoadResult:
        self._go_on(duration_s)
        self.offered.append(rate_per_s)
        count = round(rate_per_s * duration_s)
        answered = min(count, round(CAPACITY * duration_s))
        statuses = [200] * answered + [429] * (count - answered)
        return make_run([20.0] * count, offered_per_s=rate_per_s, duration_s=duration_s, statuses=statuses)

    def measure(self, *, duration_s: float = 60, rates: tuple[float, ...] = ()) -> Survey:
        plan = SurveyPlan(1000, duration_s, STATIONS, rates)
        seen: list[RunFigures] = []
        found = survey(plan, run_closed=self.run_closed, run_open=self.run_open, on_run=seen.append, clock=self.clock)
        assert seen == [*found.probes, *found.steps]
        return found

    def _go_on(self, duration_s: float) -> None:
        if self.interrupted_at == len(self.closed) + len(self.offered):
            raise KeyboardInterrupt
        self.clock.advance(duration_s)


def test_the_largest_rate_within_the_target_is_found() -> None:
    generator = FakeGenerator()

    found = generator.measure()

    assert generator.closed == [1, 4, 16]  # until more connections bring nothing
    assert found.kept_per_s is not None
    assert CAPACITY / 1.03 <= found.kept_per_s <= CAPACITY * 1.01
    assert found.bottleneck.limit is Limit.INFERENCE


def test_a_search_ends_with_its_time() -> None:
    generator = FakeGenerator()
    begun_s = generator.clock()

    generator.measure(duration_s=5)

    assert generator.clock() - begun_s <= 5


def test_rates_that_were_asked_for_are_all_offered_and_no_other() -> None:
    generator = FakeGenerator()

    found = generator.measure(rates=(400.0, 20.0, 60.0))

    assert generator.offered == [400, 20, 60]
    assert found.kept_per_s == 60


def test_an_interrupted_survey_has_the_runs_that_had_ended() -> None:
    found = FakeGenerator(interrupted_at=5).measure()

    assert found.is_interrupted
    assert (len(found.probes), len(found.steps), found.kept_per_s) == (3, 2, 50)


def test_an_interrupt_before_the_end_of_the_first_run_goes_on() -> None:
    with pytest.raises(KeyboardInterrupt):
        FakeGenerator(interrupted_at=0).measure()


def search(limit_per_s: float, steps: int) -> list[Attempt]:
    """The rates that are offered to a server which keeps every rate up to its limit."""
    attempts: list[Attempt] = []
    while len(attempts) < steps and (rate := choose_rate(attempts, CAPACITY)) is not None:
        attempts.append(Attempt(rate, rate <= limit_per_s))
    return attempts


def test_the_ladder_ends_after_two_rates_that_were_not_kept() -> None:
    attempts = search(limit_per_s=30, steps=4)

    assert [attempt.is_kept for attempt in attempts[:3]] == [True, False, False]
    assert 25 < attempts[3].rate_per_s < 50


def test_a_server_that_keeps_the_whole_ladder_is_offered_more() -> None:
    offered = [attempt.rate_per_s for attempt in search(limit_per_s=1e6, steps=len(LADDER) + 1)]

    assert offered == [*(share * CAPACITY for share in LADDER), LADDER[-1] * CAPACITY * GROWTH]


@given(limit=st.floats(0.5, 1000))
def test_any_limit_is_found_to_three_per_cent_with_no_rate_twice(limit: float) -> None:
    attempts = search(limit, steps=40)

    best = best_rate(attempts)
    assert best is not None
    assert best <= limit <= best * PRECISION
    assert len(attempts) == len({attempt.rate_per_s for attempt in attempts}) < 40


def test_a_rate_that_was_not_kept_below_one_that_was_counts_as_chance() -> None:
    attempts = [Attempt(rate, rate != 50) for rate in (25.0, 50.0, 70.0, 85.0, 100.0)]

    assert best_rate(attempts) == 100
    assert choose_rate(attempts, CAPACITY) == 125


@pytest.mark.parametrize(
    ("decode_ms", "inference_ms", "batch_size", "limit", "confidence"),
    [
        (4.0, 19.0, 1, Limit.INFERENCE, Confidence.CLEAR),
        (19.0, 8.0, 1, Limit.DECODE, Confidence.CLEAR),
        (19.0, 96.0, 8, Limit.DECODE, Confidence.CLEAR),
        (16.0, 19.0, 1, Limit.INFERENCE, Confidence.LIKELY),
        (18.5, 19.0, 1, Limit.INFERENCE, Confidence.UNCLEAR),
        (2.0, 4.0, 1, Limit.HTTP, Confidence.LIKELY),
        (2.0, 11.0, 1, Limit.HTTP, Confidence.UNCLEAR),
    ],
)
def test_the_station_that_is_busy_at_capacity_is_the_limit_else_http(
    decode_ms: float, inference_ms: float, batch_size: int, limit: Limit, confidence: Confidence
) -> None:
    facts = make_facts(decode_ms=decode_ms, inference_ms=inference_ms, batch_size=batch_size)

    found = find_bottleneck(make_run(ANSWERS_MS, facts=facts), STATIONS)

    assert (found.limit, found.confidence) == (limit, confidence)


def test_the_shares_of_busy_time_follow_from_rate_demand_and_servers() -> None:
    facts = make_facts(decode_ms=5, inference_ms=64, batch_size=4)

    found = find_bottleneck(make_run(ANSWERS_MS, facts=facts), STATIONS)

    assert found.decode_busy == pytest.approx(0.25, rel=0.01)
    assert found.inference_busy == pytest.approx(0.8, rel=0.01)


@pytest.mark.parametrize(
    ("run", "limit"),
    [
        (make_run(ANSWERS_MS, facts=make_facts(inference_ms=19), client_cpu_s=9.5), Limit.CLIENT),
        (make_run(ANSWERS_MS, facts=make_facts(is_cached=True)), Limit.HTTP),
        (make_run(ANSWERS_MS), Limit.UNKNOWN),
    ],
    ids=["a busy client", "cached answers", "no timings"],
)
def test_without_computed_answers_or_a_client_with_time_no_station_is_the_limit(run: LoadResult, limit: Limit) -> None:
    assert find_bottleneck(run, STATIONS).limit is limit
