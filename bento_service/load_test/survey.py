"""Finds a server's capacity by closed loops, what limits it, and by open loops the largest rate within a target."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, TypeAlias

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
"""Shares of the capacity that are offered first; then the interval in which the target begins to break is halved."""
STEPS = len(LADDER) + 3
"""Rates that a survey has time for: the ladder, and three halvings, from 15 % of the capacity to 2 %."""
PRECISION = 1.03
GROWTH = 1.5
BUSY = 0.6
"""Share of the time below which a station is no limit. Two busy lanes of three are above."""
CLEAR_LEAD = 0.2
LIKELY_LEAD = 0.1

RunClosed: TypeAlias = Callable[[int, float], LoadResult]
"""Keeps this many connections busy for this many seconds."""
RunOpen: TypeAlias = Callable[[float, float], LoadResult]
"""Offers this rate for this many seconds."""


class Limit(StrEnum):
    """The scarce resource."""

    DECODE = "decode"
    INFERENCE = "inference"
    HTTP = "HTTP"
    CLIENT = "the client"
    UNKNOWN = "unknown"


class Confidence(StrEnum):
    """How sure the finding is."""

    CLEAR = "clear"
    LIKELY = "likely"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class ServiceCapacity:
    """How many images a service can decode and infer at once: threads and lanes of all its workers."""

    decode_threads: int
    lanes: int


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """The limit, how sure it is, and the shares of time in which the stations were busy; None if unknown."""

    limit: Limit
    confidence: Confidence
    decode_busy: float | None = None
    inference_busy: float | None = None


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


class Attempt(NamedTuple):
    """An offered rate, and whether it was kept."""

    rate_per_s: float
    is_kept: bool


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
        KeyboardInterrupt: Ctrl-C came before the first run had ended.
    """
    ends_s = clock() + plan.duration_s
    closed: list[LoadResult] = []
    probes: list[RunFigures] = []
    steps: list[RunFigures] = []

    def add(run: LoadResult, runs: list[RunFigures]) -> None:
        runs.append(describe_run(run, plan.target_ms))
        on_run(runs[-1])

    is_interrupted = False
    try:
        for probe in _probe(run_closed, plan.duration_s):
            closed.append(probe)
            add(probe, probes)
        capacity_per_s = max(run.throughput_per_s for run in closed)
        duration_s = max(MIN_STEP_S, STEP_SHARE * (ends_s - clock()) / (len(plan.rates_per_s) or STEPS))
        for rate_per_s in plan.rates_per_s or _search(steps, capacity_per_s):
            is_out_of_time = ends_s - clock() < duration_s and not plan.rates_per_s
            if is_out_of_time or rate_per_s * duration_s < 1:
                break
            add(run_open(rate_per_s, duration_s), steps)
    except KeyboardInterrupt:
        if not closed:
            raise
        is_interrupted = True
    lone_ms = sorted(closed[0].http_ms.tolist())
    return Survey(
        probes=tuple(probes),
        steps=tuple(steps),
        kept_per_s=best_rate(_attempts(steps)),
        bottleneck=find_bottleneck(max(closed, key=lambda run: run.throughput_per_s), plan.capacity),
        lone_http_ms=lone_ms[len(lone_ms) // 2] if lone_ms else None,
        is_interrupted=is_interrupted,
    )


def _probe(run_closed: RunClosed, duration_s: float) -> Iterator[LoadResult]:
    """Add connections until throughput stops growing."""
    best_per_s = 0.0
    for connections in CONNECTIONS:
        run = run_closed(connections, min(MAX_PROBE_S, max(MIN_PROBE_S, PROBE_SHARE * duration_s)))
        yield run
        if run.throughput_per_s < ENOUGH_GAIN * best_per_s:
            return
        best_per_s = run.throughput_per_s


def _search(steps: Sequence[RunFigures], capacity_per_s: float) -> Iterator[float]:
    """Yield rates to offer; `steps` grows meanwhile."""
    while (rate_per_s := choose_rate(_attempts(steps), capacity_per_s)) is not None:
        yield rate_per_s


def _attempts(steps: Sequence[RunFigures]) -> list[Attempt]:
    return [Attempt(step.offered_per_s or 0.0, step.is_kept) for step in steps]


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


def find_bottleneck(at_capacity: LoadResult, capacity: ServiceCapacity) -> Bottleneck:
    """Judge a run at capacity.

    By the utilisation law (Denning and Buzen, 1978), `m` servers that each work on an image for `D` seconds are busy
    for `X * D / m` of the time at `X` images a second. Decode threads and lanes are such servers, and answers hold `D`.
    The busier of the two is the limit: clearly with a lead of 20 % of the time, likely with 10 %. Where neither is
    busy, HTTP is, and never more than likely, since it is only the rest.
    """
    if at_capacity.is_client_busy:
        return Bottleneck(Limit.CLIENT, Confidence.CLEAR)
    computed = len(at_capacity.inference_per_image_ms)
    if not computed:
        if at_capacity.cached:
            return Bottleneck(Limit.HTTP, Confidence.LIKELY)
        return Bottleneck(Limit.UNKNOWN, Confidence.UNCLEAR)
    per_ms = at_capacity.throughput_per_s * computed / len(at_capacity.answered_ms) / 1000
    decode = per_ms * float(at_capacity.stages_ms["decode"].mean()) / capacity.decode_threads
    inference = per_ms * float(at_capacity.inference_per_image_ms.mean()) / capacity.lanes
    busiest, lead = max(decode, inference), abs(decode - inference)
    if busiest < BUSY:
        confidence = Confidence.LIKELY if busiest < BUSY - CLEAR_LEAD else Confidence.UNCLEAR
        return Bottleneck(Limit.HTTP, confidence, decode, inference)
    leads = {Confidence.CLEAR: CLEAR_LEAD, Confidence.LIKELY: LIKELY_LEAD, Confidence.UNCLEAR: 0.0}
    confidence = next(level for level, least in leads.items() if lead >= least)
    return Bottleneck(Limit.DECODE if decode > inference else Limit.INFERENCE, confidence, decode, inference)
