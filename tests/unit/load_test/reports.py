"""A report made up of made-up runs."""

from dataclasses import replace

import numpy as np

from bento_service.load_test.bottleneck import Bottleneck, Confidence, Limit
from bento_service.load_test.figures import RunFigures, describe_run
from bento_service.load_test.report import BenchReport, Subject
from bento_service.load_test.survey import Survey
from tests.unit.load_test.runs import make_facts, make_run

TARGET_MS = 100.0


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


def make_report(*steps: RunFigures, names: tuple[str, ...] = ("cat.jpg",), is_loopback: bool = True) -> BenchReport:
    """A report in which the largest rate that was kept, if any, is the verdict."""
    kept = max((step.offered_per_s or 0.0 for step in steps if step.is_kept), default=None)
    lone = describe_run(make_run([14.0] * 70, offered_per_s=None, connections=1, facts=make_facts()), TARGET_MS)
    found = Survey(
        probes=(lone,),
        steps=steps,
        kept_per_s=kept,
        bottleneck=Bottleneck(Limit.INFERENCE, Confidence.CLEAR, 0.44, 0.96),
        lone_http_ms=1.4,
        is_interrupted=False,
    )
    subject = Subject("http://127.0.0.1:3000", "lite0", "abc", {"engine": "openvino"}, names, 49_000, is_loopback)
    return BenchReport("2026-01-02T03:04:05+00:00", "lightbox bench", subject, TARGET_MS, "as asked for", 0, found)


def with_limit(report: BenchReport, limit: Limit, confidence: Confidence) -> BenchReport:
    """The same with another finding."""
    return replace(report, survey=replace(report.survey, bottleneck=Bottleneck(limit, confidence, 0.3, 0.3)))
