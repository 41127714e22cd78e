"""The report for a terminal."""

from rich.console import Console
from rich.table import Table

from bento_service.load_test.figures import RunFigures
from bento_service.load_test.report import BenchReport, explain_limit, format_rate, give_verdict, list_notes, name_load

COLUMNS = ("load", "images/s", "p50 ms", "p95 ms", "p99 ms", "refused", "failed", "decode", "queue", "inference", "")


def write_text(report: BenchReport, console: Console) -> None:
    """Write the runs as a table, then the verdict and what it rests on."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in {"load", ""} else "right", no_wrap=True)
    for run in report.survey.probes:
        table.add_row(*_cells(run, name_load(run)))
    for run in sorted(report.survey.steps, key=lambda run: run.offered_per_s or 0.0):
        verdict = "kept" if run.is_kept else "not kept"
        table.add_row(*_cells(run, name_load(run)), verdict)
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
    outcome = "kept" if run.is_kept else "not kept"
    return f"{format_rate(run.offered_per_s)} images/s offered: p99 {_ms(run.p99_ms)} ms, {outcome}"


def describe_p99(run: RunFigures) -> str:
    """Return a run's p99 with its 95 % confidence interval."""
    high = f"to {_ms(run.p99_high_ms)}" if run.p99_high_ms is not None else "or more"
    return f"{_ms(run.p99_ms)} ms (95 % confidence: {_ms(run.p99_low_ms)} {high})"


def _cells(run: RunFigures, load: str) -> tuple[str, ...]:
    stages = (f"{run.stages_ms[stage]:.1f}" if run.stages_ms else "–" for stage in ("decode", "queue", "inference"))
    percentiles = (_ms(value) for value in (run.p50_ms, run.p95_ms, run.p99_ms))
    return (load, format_rate(run.throughput_per_s), *percentiles, str(run.refused), str(run.failed), *stages)


def _ms(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 99.5 else f"{value:.1f}"
