"""Finds the capacity of a server by closed loops, then by open loops the largest rate that it keeps within a target.

The search offers a ladder of rates around the capacity, which makes the curve of the report, then halves the interval
in which the server begins to break the target.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from bento_service.load_test.bottleneck import Bottleneck, ServiceCapacity, find_bottleneck
from bento_service.load_test.figures import RunFigures, describe_run
from bento_service.load_test.result import LoadResult

CONNECTIONS = (1, 4, 16, 64, 256)
PROBE_SHARE = 0.03
MIN_PROBE_S, MAX_PROBE_S = 0.5, 3.0
ENOUGH_GAIN = 1.05
STEP_SHARE = 0.9
"""The rest of a step's time is for the answers that come after its schedule has ended."""
MIN_STEP_S = 1.0
LADDER = (0.25, 0.5, 0.7, 0.85, 1.0, 1.25)
"""Shares of the capacity."""
STEPS = len(LADDER) + 3
"""Rates that a survey has time for: the ladder, and three halvings, from 15 % of the capacity to 2 %."""
PRECISION = 1.03
GROWTH = 1.5

RunClosed: TypeAlias = Callable[[int, float], LoadResult]
"""Keeps this many connections busy for this many seconds."""
RunOpen: TypeAlias = Callable[[float, float], LoadResult]
"""Offers this rate for this many seconds."""


@dataclass(frozen=True, slots=True)
class SurveyPlan:
    """The target and the time. `rates_per_s`, where given, are offered instead of a search."""

    target_ms: float
    duration_s: float
    capacity: ServiceCapacity
    rates_per_s: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Survey:
    """The runs and the result.

    `kept_per_s` is the largest rate that was kept, None if none was. `lone_http_ms` is the median time that a request
    on one connection spent outside of decoding, queue and inference.
    """

    probes: tuple[RunFigures, ...]
    steps: tuple[RunFigures, ...]
    kept_per_s: float | None
    bottleneck: Bottleneck
    lone_http_ms: float | None
    is_interrupted: bool


@dataclass(frozen=True, slots=True)
class Attempt:
    """An offered rate, and whether it was kept."""

    rate_per_s: float
    is_kept: bool


class NothingMeasuredError(Exception):
    """The survey was interrupted before its first run ended."""


def survey(
    plan: SurveyPlan,
    *,
    run_closed: RunClosed,
    run_open: RunOpen,
    on_run: Callable[[RunFigures], None],
    clock: Callable[[], float] = time.monotonic,
) -> Survey:
    """Probe the capacity, then search; `on_run` gets each run when it ends. Ctrl-C ends the survey early.

    Raises:
        NothingMeasuredError: Ctrl-C came before the first run had ended.
    """
    runs = _Runs(plan, on_run, clock)
    is_interrupted = False
    try:
        _probe(run_closed, runs)
        _search(run_open, runs)
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
            bottleneck=find_bottleneck(self.at_capacity, self.plan.capacity),
            lone_http_ms=sorted(lone.tolist())[len(lone) // 2] if len(lone) else None,
            is_interrupted=is_interrupted,
        )

    def _add(self, run: LoadResult, figures: list[RunFigures]) -> None:
        figures.append(describe_run(run, self.plan.target_ms))
        self._on_run(figures[-1])


def _probe(run_closed: RunClosed, runs: _Runs) -> None:
    """Add connections until throughput stops growing."""
    duration_s = min(MAX_PROBE_S, max(MIN_PROBE_S, PROBE_SHARE * runs.plan.duration_s))
    best_per_s = 0.0
    for connections in CONNECTIONS:
        run = run_closed(connections, duration_s)
        runs.add_closed(run)
        if run.throughput_per_s < ENOUGH_GAIN * best_per_s:
            return
        best_per_s = run.throughput_per_s


def _search(run_open: RunOpen, runs: _Runs) -> None:
    capacity_per_s = runs.at_capacity.throughput_per_s
    steps = len(runs.plan.rates_per_s) or STEPS
    duration_s = max(MIN_STEP_S, STEP_SHARE * runs.left_s / steps)
    for rate_per_s in _rates(runs, capacity_per_s):
        if rate_per_s * duration_s < 1 or (runs.left_s < duration_s and not runs.plan.rates_per_s):
            return
        runs.add_open(run_open(rate_per_s, duration_s))


def _rates(runs: _Runs, capacity_per_s: float) -> Iterator[float]:
    if runs.plan.rates_per_s:
        yield from runs.plan.rates_per_s
        return
    while (rate_per_s := choose_rate(runs.attempts, capacity_per_s)) is not None:
        yield rate_per_s


def choose_rate(attempts: Sequence[Attempt], capacity_per_s: float) -> float | None:
    """Return the next rate, or None once the limit is known to 3 %. Two broken rates in a row end the ladder."""
    has_broken = len(attempts) >= 2 and not (attempts[-1].is_kept or attempts[-2].is_kept)
    if len(attempts) < len(LADDER) and not has_broken:
        return LADDER[len(attempts)] * capacity_per_s
    best = best_rate(attempts)
    broken = [attempt.rate_per_s for attempt in attempts if not attempt.is_kept]
    ceiling = min((rate for rate in broken if best is None or rate > best), default=None)
    if ceiling is None:
        return (best or capacity_per_s) * GROWTH
    if best is None:
        return ceiling / 2
    return None if ceiling / best <= PRECISION else (best + ceiling) / 2


def best_rate(attempts: Sequence[Attempt]) -> float | None:
    """Return the largest rate that was kept."""
    return max((attempt.rate_per_s for attempt in attempts if attempt.is_kept), default=None)
