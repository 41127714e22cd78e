"""The report of a survey: its verdict and notes, as text for a terminal and as JSON."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table

from bento_service.load_test.figures import RunFigures
from bento_service.load_test.survey import Confidence, Limit, Survey

SCHEMA = "lightbox-bench/1"
CACHED_SHARE = 0.01
FEW_REQUESTS = 500
"""Below it the 99th percentile depends on fewer than five requests."""
OUTCOME = ""
"""Heading of the column that says whether a rate was kept, and if not, why."""
_NO_FAILURES = {"200", "429", "503"}
_STAGES = ("decode", "queue", "inference")
_COLUMNS = ("load", "images/s", "p50 ms", "p95 ms", "p99 ms", "refused", "failed", *_STAGES, OUTCOME)
_WIDE_COLUMNS = 110
"""A narrower terminal shows no stages: it needs the room for the reasons."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The service that was measured, and the images that were sent, by name."""

    url: str
    model: str
    model_version: str
    service: Mapping[str, str]
    image_names: tuple[str, ...]
    image_bytes_median: int
    is_loopback: bool


@dataclass(frozen=True, slots=True)
class BenchReport:
    """A survey with its circumstances. `begun_at` is ISO 8601 in UTC; `command` repeats the measurement."""

    begun_at: str
    command: str
    subject: Subject
    target_ms: float
    target_source: str
    seed: int
    survey: Survey

    @property
    def runs(self) -> list[RunFigures]:
        """Every run: the probes, then the steps by rate."""
        return [*self.survey.probes, *sorted(self.survey.steps, key=lambda step: step.offered_per_s or 0.0)]

    @property
    def kept(self) -> RunFigures | None:
        """The run at the largest rate that was kept."""
        kept_per_s = self.survey.kept_per_s
        return next((step for step in self.survey.steps if step.is_kept and step.offered_per_s == kept_per_s), None)


def to_json(report: BenchReport) -> str:
    """Return the report as JSON, verdict and notes included."""
    document = {"schema": SCHEMA, "verdict": give_verdict(report), "notes": list_notes(report), **asdict(report)}
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def give_verdict(report: BenchReport) -> str:
    """Say in one sentence what the service can do, and what limits it."""
    return f"{_say_rate(report)}; {_say_limit(report)}"


def _say_rate(report: BenchReport) -> str:
    target = f"p99 ≤ {report.target_ms:g} ms"
    kept, steps = report.kept, report.survey.steps
    if kept is not None:
        at_least = "at least " if all(step.is_kept for step in steps) else ""
        return f"{at_least}{format_rate(kept.offered_per_s)} images/s at {target}"
    if not steps:
        best = max(report.survey.probes, key=lambda probe: probe.throughput_per_s)
        return f"{format_rate(best.throughput_per_s)} images/s from {name_load(best)}, and no rate was offered"
    lowest_per_s = min(step.offered_per_s or 0.0 for step in steps)
    return f"no rate kept {target}, not even {format_rate(lowest_per_s)} images/s"


def _say_limit(report: BenchReport) -> str:
    found = report.survey.bottleneck
    if found.limit is Limit.UNKNOWN:
        return "what limits it cannot be told, for the answers carry no timings"
    doubt = {Confidence.CLEAR: "", Confidence.LIKELY: " (likely)", Confidence.UNCLEAR: " (not clear)"}[found.confidence]
    network = "" if found.limit is not Limit.HTTP or report.subject.is_loopback else " or the network"
    return f"limited by {found.limit}{network}{doubt}"


def explain_verdict(report: BenchReport) -> list[str]:
    """Return sentences with the figures behind the verdict: p99 with its 95 % confidence interval, and utilisation."""
    sentences = []
    if (kept := report.kept) is not None:
        high = f"to {_ms(kept.p99_high_ms)}" if kept.p99_high_ms is not None else "or more"
        interval = f"95 % confidence: {_ms(kept.p99_low_ms)} {high}"
        sentences.append(f"There p99 was {_ms(kept.p99_ms)} ms ({interval}) over {kept.requests} requests.")
    found = report.survey.bottleneck
    if found.decode_busy is not None and found.inference_busy is not None:
        lone_ms = report.survey.lone_http_ms
        http = f"; of a lone request's time, {lone_ms:.1f} ms were HTTP" if lone_ms is not None else ""
        sentences.append(
            f"At capacity the decode threads were busy {min(found.decode_busy, 1):.0%} of the time and the lanes "
            f"{min(found.inference_busy, 1):.0%}{http}."
        )
    return sentences


def list_notes(report: BenchReport) -> list[str]:
    """Return the reservations that belong to the verdict."""
    survey, kept = report.survey, report.kept
    runs = survey.probes + survey.steps
    cached_share = sum(run.cached for run in runs) / max(sum(run.answered for run in runs), 1)
    late = ", ".join(map(format_rate, sorted(run.offered_per_s or 0.0 for run in survey.steps if run.is_client_bound)))
    failed: Counter[str] = Counter()
    for run in runs:
        failed.update({status: count for status, count in run.statuses.items() if status not in _NO_FAILURES})
    listed = ", ".join(f"{status} ({count})" for status, count in failed.items())
    notes = [
        (survey.is_interrupted, "Interrupted: the figures are of the runs that had ended."),
        (
            kept is not None and kept.requests < FEW_REQUESTS,
            f"The p99 at that rate rests on {kept.requests if kept else 0} requests; a longer --duration gives a surer "
            "figure.",
        ),
        (
            cached_share > CACHED_SHARE,
            f"{cached_share:.0%} of the answers came from the cache, so this is not the model's speed.",
        ),
        (
            any(not run.is_kept and (run.offered_per_s or 0.0) < (survey.kept_per_s or 0.0) for run in survey.steps),
            "Some lower rates were not kept: something else used the machine, or its speed changed. Repeat it.",
        ),
        (
            any(run.queue_growth and (run.p99_ms or math.inf) <= report.target_ms for run in survey.steps),
            "A rate at which the queue grows is not kept: p99 is within the target only because the run is short.",
        ),
        (
            late,
            f"At {late} images/s the client was the limit: it was late, out of connections or out of CPU, and that "
            "time counts. Run it on another machine to be sure.",
        ),
        (listed, f"Some requests failed: {listed}. A rate with a failure is not kept."),
    ]
    return [note for applies, note in notes if applies]


def name_load(run: RunFigures) -> str:
    """Return a run's load in words: its rate, or its connections."""
    if run.offered_per_s is not None:
        return f"{format_rate(run.offered_per_s)}/s"
    return "1 connection" if run.connections == 1 else f"{run.connections} connections"


def format_rate(rate_per_s: float | None) -> str:
    """Return a rate with three digits."""
    if rate_per_s is None:
        return "–"
    return f"{rate_per_s:.0f}" if rate_per_s >= 99.5 else f"{rate_per_s:.3g}"


def list_cells(run: RunFigures) -> dict[str, str]:
    """Return a run's row of a table, by heading; stages in ms."""
    return {
        "load": name_load(run),
        "images/s": format_rate(run.throughput_per_s),
        "within target": format_rate(run.goodput_per_s),
        **{f"{name} ms": _ms(getattr(run, f"{name}_ms")) for name in ("p50", "p90", "p95", "p99")},
        **{name: str(getattr(run, name)) for name in ("refused", "failed", "requests")},
        **{stage: f"{run.stages_ms[stage]:.1f}" if run.stages_ms else "–" for stage in _STAGES},
        OUTCOME: "" if run.offered_per_s is None else _name_outcome(run),
    }


def write_text(report: BenchReport, console: Console) -> None:
    """Write the runs as a table, then the verdict with its notes."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = [column for column in _COLUMNS if column not in _STAGES or console.width >= _WIDE_COLUMNS]
    for column in columns:
        justify: Literal["left", "right"] = "left" if column in {"load", OUTCOME} else "right"
        table.add_column(column, justify=justify, no_wrap=column != OUTCOME)
    for run in report.runs:
        cells = list_cells(run)
        table.add_row(*(cells[column] for column in columns))
    console.print(table)
    console.print()
    console.print(give_verdict(report), style="bold")
    for line in (*explain_verdict(report), *list_notes(report)):
        console.print(line)


def describe_run_line(run: RunFigures) -> str:
    """Return a run in one line, as it ends."""
    if run.offered_per_s is None:
        return f"{name_load(run)}: {format_rate(run.throughput_per_s)} images/s, p50 {_ms(run.p50_ms)} ms"
    return f"{format_rate(run.offered_per_s)} images/s offered: p99 {_ms(run.p99_ms)} ms, {_name_outcome(run)}"


def _name_outcome(run: RunFigures) -> str:
    return f"not kept: {run.not_kept_because}" if run.not_kept_because else "kept"


def _ms(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 99.5 else f"{value:.1f}"
