"""The report for a terminal."""

from rich.console import Console
from rich.table import Table

from bento_service.load_test.figures import RunFigures
from bento_service.load_test.report import (
    BenchReport,
    explain_limit,
    format_rate,
    give_verdict,
    list_notes,
    name_load,
    name_outcome,
)

STAGES = ("decode", "queue", "inference")
COLUMNS = ("load", "images/s", "p50 ms", "p95 ms", "p99 ms", "refused", "failed", *STAGES, "")
WIDE_COLUMNS = 110
"""A narrower terminal has no room for the stages beside why a rate was not kept."""


def write_text(report: BenchReport, console: Console) -> None:
    """Write the runs as a table, then the verdict and what it rests on."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = [column for column in COLUMNS if column not in STAGES or console.width >= WIDE_COLUMNS]
    for column in columns:
        table.add_column(column, justify="left" if column in {"load", ""} else "right", no_wrap=column != "")
    steps = sorted(report.survey.steps, key=lambda run: run.offered_per_s or 0.0)
    for run in (*report.survey.probes, *steps):
        cells = dict(zip(COLUMNS, _cells(run), strict=True))
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
    stages = (f"{run.stages_ms[stage]:.1f}" if run.stages_ms else "–" for stage in STAGES)
    percentiles = (_ms(value) for value in (run.p50_ms, run.p95_ms, run.p99_ms))
    counts = (str(run.refused), str(run.failed))
    outcome = "" if run.offered_per_s is None else name_outcome(run)
    return (name_load(run), format_rate(run.throughput_per_s), *percentiles, *counts, *stages, outcome)


def _ms(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 99.5 else f"{value:.1f}"
