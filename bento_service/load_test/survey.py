"""Finds what a server can do: its capacity by closed loops, then by open ones the largest rate within the target."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from bento_service.load_test.bottleneck import Bottleneck, Stations, find_bottleneck
from bento_service.load_test.figures import RunFigures, describe_run
from bento_service.load_test.result import LoadResult
from bento_service.load_test.search import STEPS, Attempt, best_rate, choose_rate

CONNECTIONS = (1, 4, 16, 64, 256)
PROBE_SHARE = 0.03
MIN_PROBE_S, MAX_PROBE_S = 0.5, 3.0
ENOUGH_GAIN = 1.05
STEP_SHARE = 0.9
"""The rest of a step's time goes to the answers that are still to come as its schedule ends."""
MIN_STEP_S = 1.0


class Generator(Protocol):
    """Sends a load to the server under test."""

    def run_closed(self, connections: int, duration_s: float) -> LoadResult:
        """Keep so many connections busy."""

    def run_open(self, rate_per_s: float, duration_s: float) -> LoadResult:
        """Offer this rate."""


@dataclass(frozen=True, slots=True)
class SurveyPlan:
    """What to find, and in what time. `rates_per_s`, where given, are offered in place of a search."""

    target_ms: float
    duration_s: float
    stations: Stations
    rates_per_s: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found.

    `kept_per_s` is the largest rate that was kept, None if none was; `lone_http_ms` is the median time of a lone
    request that was neither decoding, queueing nor inference.
    """

    probes: tuple[RunFigures, ...]
    steps: tuple[RunFigures, ...]
    kept_per_s: float | None
    bottleneck: Bottleneck
    lone_http_ms: float | None
    is_interrupted: bool


class NothingMeasuredError(Exception):
    """The survey was interrupted before it had anything to tell."""


def survey(
    generator: Generator,
    plan: SurveyPlan,
    *,
    on_run: Callable[[RunFigures], None],
    clock: Callable[[], float] = time.monotonic,
) -> Survey:
    """Probe the capacity, then search; `on_run` gets each run as it ends. Ctrl-C ends it with what there is.

    Raises:
        NothingMeasuredError: Ctrl-C came before the first run had ended.
    """
    runs = _Runs(plan, on_run, clock)
    is_interrupted = False
    try:
        _probe(generator, runs)
        _search(generator, runs)
    except KeyboardInterrupt:
        is_interrupted = True
        if not runs.closed:
            raise NothingMeasuredError from None
    return runs.conclude(is_interrupted=is_interrupted)


class _Runs:
    """The runs so far."""

    def __init__(self, plan: SurveyPlan, on_run: Callable[[RunFigures], None], clock: Callable[[], float]) -> None:
        self.plan = plan
        self.closed: list[LoadResult] = []
        self.probes: list[RunFigures] = []
        self.steps: list[RunFigures] = []
        self._on_run = on_run
        self._clock = clock
        self._ends_s = clock() + plan.duration_s

    @property
    def left_s(self) -> float:
        return self._ends_s - self._clock()

    @property
    def at_capacity(self) -> LoadResult:
        return max(self.closed, key=lambda run: run.throughput_per_s)

    @property
    def attempts(self) -> list[Attempt]:
        return [Attempt(step.offered_per_s or 0.0, step.is_kept) for step in self.steps]

    def add_closed(self, run: LoadResult) -> None:
        self.closed.append(run)
        self._add(run, self.probes)

    def add_open(self, run: LoadResult) -> None:
        self._add(run, self.steps)

    def conclude(self, *, is_interrupted: bool) -> Survey:
        lone = self.closed[0].http_ms
        return Survey(
            probes=tuple(self.probes),
            steps=tuple(self.steps),
            kept_per_s=best_rate(self.attempts),
            bottleneck=find_bottleneck(self.at_capacity, self.plan.stations),
            lone_http_ms=sorted(lone.tolist())[len(lone) // 2] if len(lone) else None,
            is_interrupted=is_interrupted,
        )

    def _add(self, run: LoadResult, figures: list[RunFigures]) -> None:
        figures.append(describe_run(run, self.plan.target_ms))
        self._on_run(figures[-1])


def _probe(generator: Generator, runs: _Runs) -> None:
    """Add connections until they bring nothing more."""
    duration_s = min(MAX_PROBE_S, max(MIN_PROBE_S, PROBE_SHARE * runs.plan.duration_s))
    best_per_s = 0.0
    for connections in CONNECTIONS:
        run = generator.run_closed(connections, duration_s)
        runs.add_closed(run)
        if run.throughput_per_s < ENOUGH_GAIN * best_per_s:
            return
        best_per_s = run.throughput_per_s


def _search(generator: Generator, runs: _Runs) -> None:
    capacity_per_s = runs.at_capacity.throughput_per_s
    steps = len(runs.plan.rates_per_s) or STEPS
    duration_s = max(MIN_STEP_S, STEP_SHARE * runs.left_s / steps)
    for rate_per_s in _rates(runs, capacity_per_s):
        if rate_per_s * duration_s < 1 or (runs.left_s < duration_s and not runs.plan.rates_per_s):
            return
        runs.add_open(generator.run_open(rate_per_s, duration_s))


def _rates(runs: _Runs, capacity_per_s: float) -> Iterator[float]:
    if runs.plan.rates_per_s:
        yield from runs.plan.rates_per_s
        return
    while (rate_per_s := choose_rate(runs.attempts, capacity_per_s)) is not None:
        yield rate_per_s
