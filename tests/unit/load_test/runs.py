"""Runs as the generator returns them, and a report of such runs, made up."""

from collections.abc import Sequence

import numpy as np

from bento_service.load_test.figures import RunFigures, describe_run
from bento_service.load_test.report import BenchReport, Subject
from bento_service.load_test.result import AnswerFacts, LoadResult
from bento_service.load_test.survey import Bottleneck, Confidence, Limit, Survey

TARGET_MS = 100.0
BUSY_LANES = Bottleneck(Limit.INFERENCE, Confidence.CLEAR, 0.44, 0.96)


def make_run(
    latencies_ms: Sequence[float],
    *,
    offered_per_s: float | None = 100.0,
    statuses: Sequence[int] | None = None,
    facts: AnswerFacts | None = None,
    duration_s: float | None = None,
    waits_ms: float = 0.0,
    connections: int = 8,
    client_cpu_s: float = 0.0,
) -> LoadResult:
    """One request each `1 / offered_per_s` seconds, with these latencies; all answered unless `statuses` say more."""
    count = len(latencies_ms)
    duration_s = duration_s or count / (offered_per_s or 100.0)
    due_s = np.linspace(0, duration_s, count, endpoint=False)
    return LoadResult(
        offered_per_s=offered_per_s,
        duration_s=duration_s,
        due_s=due_s,
        sent_s=due_s + waits_ms / 1000,
        done_s=due_s + np.array(latencies_ms) / 1000,
        statuses=np.array(statuses if statuses is not None else [200] * count, dtype=np.int16),
        facts=(facts,) * count,
        connections=connections,
        exhausted=0,
        client_cpu_s=client_cpu_s,
    )


def make_facts(
    *, decode_ms: float = 2.0, inference_ms: float = 8.0, batch_size: int = 1, is_cached: bool = False
) -> AnswerFacts:
    """An answer's timings, with 1 ms of receiving and 1 ms in the queue."""
    return AnswerFacts(1.0, decode_ms, 1.0, inference_ms, batch_size, is_cached)


def make_step(rate_per_s: float, *, latency_ms: float = 20.0, refused: int = 0) -> RunFigures:
    """Ten seconds at a rate."""
    count = round(rate_per_s * 10)
    statuses = [200] * (count - refused) + [429] * refused
    run = make_run([latency_ms] * count, offered_per_s=rate_per_s, statuses=statuses, facts=make_facts())
    return describe_run(run, TARGET_MS)


def make_growing_step(rate_per_s: float) -> RunFigures:
    """One second at a rate at which each answer takes longer than the one before, up to just within the target."""
    latencies_ms = np.linspace(0, 0.95 * TARGET_MS, round(rate_per_s)).tolist()
    return describe_run(make_run(latencies_ms, offered_per_s=rate_per_s, facts=make_facts()), TARGET_MS)


def make_report(
    *steps: RunFigures,
    names: tuple[str, ...] = ("cat.jpg",),
    is_loopback: bool = True,
    bottleneck: Bottleneck = BUSY_LANES,
    is_interrupted: bool = False,
) -> BenchReport:
    """A report in which the largest rate that was kept, if any, is the verdict."""
    kept_per_s = max((step.offered_per_s or 0.0 for step in steps if step.is_kept), default=None)
    lone = describe_run(make_run([14.0] * 70, offered_per_s=None, connections=1, facts=make_facts()), TARGET_MS)
    found = Survey((lone,), steps, kept_per_s, bottleneck, lone_http_ms=1.4, is_interrupted=is_interrupted)
    subject = Subject("http://127.0.0.1:3000", "lite0", "abc", {"engine": "openvino"}, names, 49_000, is_loopback)
    return BenchReport("2026-01-02T03:04:05+00:00", "lightbox bench", subject, TARGET_MS, "as asked for", 0, found)
