"""One run in figures that a report can show and JSON can hold: no NaN, no infinity, no array."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bento_service.load_test.result import BROKEN, TIMED_OUT, Floats, LoadResult

STAGES = ("receive", "decode", "queue", "inference", "other")
"""`other` is what the client waited for beyond the server's own stages: HTTP both ways, and the event loops."""
_STATUS_NAMES = {TIMED_OUT: "timed out", BROKEN: "connection broken"}
CDF_POINTS = 200
KEPT_SHARE = 0.99


@dataclass(frozen=True, slots=True)
class RunFigures:
    """A run's figures; None where there were no such requests.

    Percentiles are over all requests; None where too many were refused or failed. `cdf_ms` holds the latencies of
    answers at evenly spaced shares from 0 to 1; `stages_ms` the means of computed answers. `not_kept_because` lists
    every reason, or is None where the run is kept.
    """

    offered_per_s: float | None
    connections: int
    duration_s: float
    requests: int
    answered: int
    refused: int
    failed: int
    cached: int
    statuses: Mapping[str, int]
    throughput_per_s: float
    goodput_per_s: float
    p50_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    p99_low_ms: float | None
    p99_high_ms: float | None
    refused_p99_ms: float | None
    stages_ms: Mapping[str, float]
    cdf_ms: tuple[float, ...]
    is_kept: bool
    not_kept_because: str | None
    queue_growth: int
    client_wait_p99_ms: float | None
    is_client_bound: bool


def describe_run(run: LoadResult, target_ms: float) -> RunFigures:
    """Return a run's figures, judged by the target."""
    reasons = find_misses(run, target_ms)
    low_ms, high_ms = run.interval_ms(KEPT_SHARE)
    return RunFigures(
        offered_per_s=run.offered_per_s,
        connections=run.connections,
        duration_s=run.duration_s,
        requests=run.requests,
        answered=len(run.answered_ms),
        refused=run.refused,
        failed=run.failed,
        cached=run.cached,
        statuses={_STATUS_NAMES.get(status, str(status)): count for status, count in run.by_status.items()},
        throughput_per_s=run.throughput_per_s,
        goodput_per_s=run.goodput_per_s(target_ms),
        p50_ms=_finite(run.percentile_ms(0.5)),
        p90_ms=_finite(run.percentile_ms(0.9)),
        p95_ms=_finite(run.percentile_ms(0.95)),
        p99_ms=_finite(run.percentile_ms(KEPT_SHARE)),
        p99_low_ms=_finite(low_ms),
        p99_high_ms=_finite(high_ms),
        refused_p99_ms=next(iter(_quantiles(run.refused_ms, np.array([0.99]))), None),
        stages_ms=_mean_stages(run),
        cdf_ms=tuple(_quantiles(run.answered_ms, np.linspace(0, 1, CDF_POINTS + 1))),
        is_kept=not reasons,
        not_kept_because=", ".join(reasons) or None,
        queue_growth=run.queue_growth,
        client_wait_p99_ms=run.client_wait_p99_ms,
        is_client_bound=run.is_client_bound,
    )


def find_misses(run: LoadResult, target_ms: float) -> list[str]:
    """Return why a rate was not kept; empty where it was.

    It is kept where 99 % of all requests were answered within the target, none failed and no queue grew. A refusal
    counts as late. The queue counts since a short run ends before a slowly growing one breaks the target.
    """
    if not run.requests:
        return ["nothing was sent"]
    late = int(np.count_nonzero(run.answered_ms > target_ms))
    is_late = run.percentile_ms(KEPT_SHARE) > target_ms
    reasons = {
        f"{run.failed} failed": run.failed > 0,
        f"{run.refused} refused": is_late and run.refused > 0,
        f"{late} over the target": is_late and late > 0,
        f"the queue grew by {run.queue_growth}": run.queue_growth > 0,
    }
    return [reason for reason, is_given in reasons.items() if is_given]


def _mean_stages(run: LoadResult) -> Mapping[str, float]:
    if not len(run.http_ms):
        return {}
    means = {stage: float(values.mean()) for stage, values in run.stages_ms.items()}
    return means | {"other": max(0.0, float(run.http_ms.mean()) - means["receive"])}


def _quantiles(values: Floats, shares: Floats) -> list[float]:
    return np.quantile(values, shares).tolist() if len(values) else []


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
