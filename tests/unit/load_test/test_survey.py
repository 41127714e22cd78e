from dataclasses import dataclass, field

import pytest

from bento_service.load_test.bottleneck import Limit, ServiceCapacity
from bento_service.load_test.figures import RunFigures
from bento_service.load_test.result import LoadResult
from bento_service.load_test.survey import NothingMeasuredError, Survey, SurveyPlan, survey
from tests.fakes.clock import FakeClock
from tests.unit.load_test.runs import make_facts, make_run

CAPACITY = 100.0


@dataclass
class FakeGenerator:
    """A server that takes `CAPACITY` images a second and refuses what is more; the clock goes on by each run."""

    clock: FakeClock
    interrupted_at: int | None = None
    closed: list[int] = field(default_factory=list)
    offered: list[float] = field(default_factory=list)

    def run_closed(self, connections: int, duration_s: float) -> LoadResult:
        self._go_on(duration_s)
        self.closed.append(connections)
        rate = min(CAPACITY, connections * 40)
        return make_run(
            [10.0] * round(rate * duration_s),
            offered_per_s=None,
            duration_s=duration_s,
            connections=connections,
            facts=make_facts(inference_ms=19),
        )

    def run_open(self, rate_per_s: float, duration_s: float) -> LoadResult:
        self._go_on(duration_s)
        self.offered.append(rate_per_s)
        count = round(rate_per_s * duration_s)
        answered = min(count, round(CAPACITY * duration_s))
        statuses = [200] * answered + [429] * (count - answered)
        return make_run([20.0] * count, offered_per_s=rate_per_s, duration_s=duration_s, statuses=statuses)

    def _go_on(self, duration_s: float) -> None:
        if self.interrupted_at == len(self.closed) + len(self.offered):
            raise KeyboardInterrupt
        self.clock.advance(duration_s)


def measure(generator: FakeGenerator, *, duration_s: float = 60, rates: tuple[float, ...] = ()) -> Survey:
    plan = SurveyPlan(1000, duration_s, ServiceCapacity(decode_threads=2, lanes=2), rates)
    seen: list[RunFigures] = []
    found = survey(
        plan,
        run_closed=generator.run_closed,
        run_open=generator.run_open,
        on_run=seen.append,
        clock=generator.clock,
    )
    assert seen == [*found.probes, *found.steps]
    return found


@pytest.fixture
def generator() -> FakeGenerator:
    return FakeGenerator(FakeClock())


def test_the_largest_rate_within_the_target_is_found_to_three_per_cent(generator: FakeGenerator) -> None:
    found = measure(generator)

    assert found.kept_per_s is not None
    assert CAPACITY / 1.03 <= found.kept_per_s <= CAPACITY * 1.01
    assert found.bottleneck.limit is Limit.INFERENCE


def test_connections_are_added_until_they_bring_nothing_more(generator: FakeGenerator) -> None:
    measure(generator)

    assert generator.closed == [1, 4, 16]


def test_the_time_is_kept(generator: FakeGenerator) -> None:
    begun_s = generator.clock()

    measure(generator, duration_s=30)

    assert generator.clock() - begun_s <= 30


def test_rates_that_were_asked_for_are_all_offered_and_no_other(generator: FakeGenerator) -> None:
    found = measure(generator, rates=(400.0, 20.0, 60.0))

    assert generator.offered == [400, 20, 60]
    assert found.kept_per_s == 60


def test_an_interrupted_survey_has_what_ended_before(generator: FakeGenerator) -> None:
    generator.interrupted_at = 5

    found = measure(generator)

    assert found.is_interrupted
    assert (len(found.probes), len(found.steps)) == (3, 2)
    assert found.kept_per_s == 50


def test_a_survey_interrupted_before_its_first_run_ended_has_nothing(generator: FakeGenerator) -> None:
    generator.interrupted_at = 0

    with pytest.raises(NothingMeasuredError):
        measure(generator)
