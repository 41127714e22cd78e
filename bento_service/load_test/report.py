"""The report of a survey: its verdict and notes, as text for a terminal and as JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from bento_service.load_test.bottleneck import Confidence, Limit
from bento_service.load_test.figures import RunFigures
from bento_service.load_test.survey import Survey

SCHEMA = "lightbox-bench/1"
CACHED_SHARE = 0.01
FEW_REQUESTS = 500
"""Below it the 99th percentile depends on fewer than five requests."""
_STAGES = ("decode", "queue", "inference")
_COLUMNS = ("load", "images/s", "p50 ms", "p95 ms", "p99 ms", "refused", "failed", *_STAGES, "")
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
    lowest = min(steps, key=lambda step: step.offered_per_s or 0.0)
    return f"no rate kept {target}, not even {format_rate(lowest.offered_per_s)} images/s"


def _say_limit(report: BenchReport) -> str:
    found = report.survey.bottleneck
    if found.limit is Limit.UNKNOWN:
        return "what limits it cannot be told, for the answers carry no timings"
    doubt = {Confidence.CLEAR: "", Confidence.LIKELY: " (likely)", Confidence.UNCLEAR: " (not clear)"}[found.confidence]
    network = "" if found.limit is not Limit.HTTP or report.subject.is_loopback else " or the network"
    return f"limited by {found.limit}{network}{doubt}"


def explain_limit(report: BenchReport) -> str:
    """Give the utilisation behind the verdict; empty where it is unknown."""
    found = report.survey.bottleneck
    if found.decode_busy is None or found.inference_busy is None:
        return ""
    lone = report.survey.lone_http_ms
    http = f"; of a lone request's time, {lone:.1f} ms were HTTP" if lone is not None else ""
    return (
        f"At capacity the decode threads were busy {min(found.decode_busy, 1):.0%} of the time and the lanes "
        f"{min(found.inference_busy, 1):.0%}{http}."
    )


def list_notes(report: BenchReport) -> list[str]:
    """Return the reservations that belong to the verdict."""
    survey, notes = report.survey, []
    runs = survey.probes + survey.steps
    kept = report.kept
    if survey.is_interrupted:
        notes.append("Interrupted: the figures are of the runs that had ended.")
    if kept is not None and kept.requests < FEW_REQUESTS:
        notes.append(
            f"The p99 at that rate rests on {kept.requests} requests; a longer --duration gives a surer figure."
        )
    answered = sum(run.answered for run in runs)
    cached = sum(run.cached for run in runs)
    if answered and cached / answered > CACHED_SHARE:
        notes.append(f"{cached / answered:.0%} of the answers came from the cache, so this is not the model's speed.")
    kept_per_s = survey.kept_per_s or 0.0
    if any(not run.is_kept and (run.offered_per_s or 0.0) < kept_per_s for run in survey.steps):
        notes.append(
            "Some lower rates were not kept: something else used the machine, or its speed changed. Repeat it."
        )
    if any(run.queue_growth and run.p99_ms is not None and run.p99_ms <= report.target_ms for run in survey.steps):
        notes.append(
            "A rate at which the queue grows is not kept: p99 is within the target only because the run is short."
        )
    late_per_s = sorted(run.offered_per_s or 0.0 for run in survey.steps if run.is_client_bound)
    if late_per_s:
        late = ", ".join(format_rate(rate) for rate in late_per_s)
        notes.append(
            f"At {late} images/s the client was the limit: it was late, out of connections or out of CPU, and that "
            "time counts. Run it on another machine to be sure."
        )
    failed: dict[str, int] = {}
    for run in runs:
        for status, count in run.statuses.items():
            if status not in {"200", "429", "503"}:
                failed[status] = failed.get(status, 0) + count
    if failed:
        listed = ", ".join(f"{status} ({count})" for status, count in failed.items())
        notes.append(f"Some requests failed: {listed}. A rate with a failure is not kept.")
    return notes


def name_load(run: RunFigures) -> str:
    """Return a run's load in words: its rate, or its connections."""
    if run.offered_per_s is not None:
        return f"{format_rate(run.offered_per_s)}/s"
    return "1 connection" if run.connections == 1 else f"{run.connections} connections"


def name_outcome(run: RunFigures) -> str:
    """Return whether a rate was kept, and if not, why."""
    return f"not kept: {run.not_kept_because}" if run.not_kept_because else "kept"


def format_rate(rate_per_s: float | None) -> str:
    """Return a rate with three digits."""
    if rate_per_s is None:
        return "–"
    return f"{rate_per_s:.0f}" if rate_per_s >= 99.5 else f"{rate_per_s:.3g}"


def write_text(report: BenchReport, console: Console) -> None:
    """Write the runs as a table, then the verdict with its notes."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = [column for column in _COLUMNS if column not in _STAGES or console.width >= _WIDE_COLUMNS]
    for column in columns:
        table.add_column(column, justify="left" if column in {"load", ""} else "right", no_wrap=column != "")
    steps = sorted(report.survey.steps, key=lambda run: run.offered_per_s or 0.0)
    for run in (*report.survey.probes, *steps):
        cells = dict(zip(_COLUMNS, _cells(run), strict=True))
        table.add_row(*(cells[column] for column in columns))
    console.print(table)
    console.print()
    console.print(give_verdict(report), style="bold")
    kept = report.kept
    if kept is not None:
        console.print(f"There p99 was {describe_p99(kept)} over {kept.requests} requests.")
    for line in (explain_limit(report), *list_notes(report)):
        if line:
            console.print(line)


def describe_run_line(run: RunFigures) -> str:
    """Return a run in one line, as it ends."""
    if run.offered_per_s is None:
        return f"{name_load(run)}: {format_rate(run.throughput_per_s)} images/s, p50 {_ms(run.p50_ms)} ms"
    return f"{format_rate(run.offered_per_s)} images/s offered: p99 {_ms(run.p99_ms)} ms, {name_outcome(run)}"


def describe_p99(run: RunFigures) -> str:
    """Return a run's p99 with its 95 % confidence interval."""
    high = f"to {_ms(run.p99_high_ms)}" if run.p99_high_ms is not None else "or more"
    return f"{_ms(run.p99_ms)} ms (95 % confidence: {_ms(run.p99_low_ms)} {high})"


def _cells(run: RunFigures) -> tuple[str, ...]:
    stages = (f"{run.stages_ms[stage]:.1f}" if run.stages_ms else "–" for stage in _STAGES)
    percentiles = (_ms(value) for value in (run.p50_ms, run.p95_ms, run.p99_ms))
    counts = (str(run.refused), str(run.failed))
    outcome = "" if run.offered_per_s is None else name_outcome(run)
    return (name_load(run), format_rate(run.throughput_per_s), *percentiles, *counts, *stages, outcome)


def _ms(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 99.5 else f"{value:.1f}"
