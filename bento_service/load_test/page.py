"""The report as one HTML page that needs nothing else: no network, no script; light or dark as the reader's system."""

from collections.abc import Sequence
from html import escape

from bento_service.load_test.figures import CDF_POINTS, STAGES, RunFigures
from bento_service.load_test.plots import Axis, Bar, Guide, Series, draw_bars, draw_lines
from bento_service.load_test.report import (
    BenchReport,
    describe_p99,
    explain_limit,
    format_rate,
    give_verdict,
    list_notes,
    name_load,
    name_outcome,
)

MAX_NAMES = 50
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Whatever slipped through the escaping could still load and run nothing."""

# Okabe and Ito's colours, which any colour vision tells apart (https://jfly.uni-koeln.de/color/).
STYLE = """
:root { color-scheme: light dark; --back: #fff; --ink: #1c2126; --faint: #5c6670; --rule: #d9dee3; }
@media (prefers-color-scheme: dark) { :root { --back: #14181c; --ink: #e6eaee; --faint: #9aa3ad; --rule: #333b43; } }
body { background: var(--back); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.1rem; font-weight: 600; color: var(--faint); margin: 0; }
.verdict { font-size: 1.6rem; font-weight: 650; line-height: 1.3; margin: .2rem 0 .6rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 1.5rem; }
figure { margin: 0; } figcaption { font-weight: 600; } svg { width: 100%; height: auto; }
.axis { fill: var(--faint); font-size: 11px; } .grid { stroke: var(--rule); }
.guide { stroke: var(--ink); stroke-dasharray: 5 4; } .line { fill: none; stroke-width: 2; }
.p50, .decode { stroke: #56B4E9; fill: #56B4E9; } .p95, .inference, .answered { stroke: #0072B2; fill: #0072B2; }
.p99, .failed { stroke: #D55E00; fill: #D55E00; } .queue, .refused { stroke: #E69F00; fill: #E69F00; }
.good { stroke: #009E73; fill: #009E73; } .receive { stroke: #CC79A7; fill: #CC79A7; }
.other { stroke: #9AA3AD; fill: #9AA3AD; } .bar { stroke: none; } polyline.line { fill: none; }
.table { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1rem 0; }
td, th { text-align: right; padding: .2rem .7rem; border-bottom: 1px solid var(--rule); white-space: nowrap; }
td:first-child, th:first-child { text-align: left; padding-left: 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; } dt { color: var(--faint); }
dd { margin: 0; overflow-wrap: anywhere; }
"""
COLUMNS = ("load", "images/s", "within target", "p50", "p90", "p95", "p99", "refused", "failed", "requests", "")


def write_page(report: BenchReport) -> str:
    """Return the page. Every name in it, of files too, is escaped."""
    notes = "".join(f"<li>{escape(note)}</li>" for note in list_notes(report))
    kept = report.kept
    basis = f"There p99 was {describe_p99(kept)} over {kept.requests} requests. " if kept else ""
    plots = "".join(_plots(report))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Load test of {escape(report.subject.url)}</title><style>{STYLE}</style></head><body>"
        f"<h1>Load test of {escape(report.subject.url)}, {escape(report.begun_at)}</h1>"
        f'<p class="verdict">{escape(give_verdict(report))}</p>'
        f"<p>{escape(basis + explain_limit(report))}</p><ul>{notes}</ul>"
        f'<div class="plots">{plots}</div>{_table(report)}{_facts(report)}</body></html>\n'
    )


def _plots(report: BenchReport) -> list[str]:
    steps = sorted(report.survey.steps, key=lambda run: run.offered_per_s or 0.0)
    offered = Axis("images/s offered")
    target = Guide(f"target {report.target_ms:g} ms", y=report.target_ms)
    chosen = [Guide("kept", x=report.kept.offered_per_s)] if report.kept else []
    latencies = [
        Series(name, name, [(_rate(run), getattr(run, f"{name}_ms")) for run in steps])
        for name in ("p50", "p95", "p99")
    ]
    rates = [
        Series("answered", "answered", [(_rate(run), run.throughput_per_s) for run in steps]),
        Series("answered within the target", "good", [(_rate(run), run.goodput_per_s) for run in steps]),
    ]
    lost = [
        Series("refused", "refused", [(_rate(run), _percent(run.refused, run)) for run in steps]),
        Series("failed", "failed", [(_rate(run), _percent(run.failed, run)) for run in steps]),
    ]
    return [
        draw_lines("Latency against offered rate", offered, Axis("ms", is_log=True), latencies, [target, *chosen]),
        draw_lines("Throughput against offered rate", offered, Axis("images/s"), rates, chosen),
        _draw_cdf(report),
        _draw_stages([*report.survey.probes[:1], *steps]),
        draw_lines("Refused and failed", offered, Axis("% of requests"), lost),
    ]


def _draw_cdf(report: BenchReport) -> str:
    run = report.kept or next(iter(report.survey.steps or report.survey.probes))
    points = [(ms, 100 * number / CDF_POINTS) for number, ms in enumerate(run.cdf_ms)]
    target = Guide("target", x=report.target_ms)
    title = f"Answers within a latency, at {name_load(run)}"
    axes = Axis("ms", is_log=True), Axis("% of answers")
    return draw_lines(title, *axes, [Series("answered", "answered", points)], [target], dots=False)


def _draw_stages(runs: Sequence[RunFigures]) -> str:
    bars = [Bar(name_load(run) if run.offered_per_s else "alone", _parts(run)) for run in runs if run.stages_ms]
    return draw_bars("Where an answer's time went", "ms, mean", bars, [(stage, stage) for stage in STAGES])


def _parts(run: RunFigures) -> list[tuple[str, float]]:
    return [(stage, run.stages_ms[stage]) for stage in STAGES]


def _table(report: BenchReport) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in COLUMNS)
    rows = [_row(run, "") for run in report.survey.probes]
    for run in sorted(report.survey.steps, key=_rate):
        rows.append(_row(run, name_outcome(run)))
    return f'<div class="table"><table><tr>{head}</tr>{"".join(rows)}</table></div>'


def _row(run: RunFigures, outcome: str) -> str:
    percentiles = [f"{ms:.1f}" if ms is not None else "–" for ms in (run.p50_ms, run.p90_ms, run.p95_ms, run.p99_ms)]
    rates = [format_rate(run.throughput_per_s), format_rate(run.goodput_per_s)]
    cells = [name_load(run), *rates, *percentiles, str(run.refused), str(run.failed), str(run.requests), outcome]
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _facts(report: BenchReport) -> str:
    subject = report.subject
    names = ", ".join(subject.image_names[:MAX_NAMES]) + (", …" if len(subject.image_names) > MAX_NAMES else "")
    facts = {
        "model": f"{subject.model} ({subject.model_version})",
        **subject.service,
        "target": f"p99 ≤ {report.target_ms:g} ms, {report.target_source}",
        "images": f"{len(subject.image_names)}, median {subject.image_bytes_median / 1000:.0f} kB: {names}",
        "method": "Poisson arrivals, settled in advance; latency counts from when a request was due",
        "command": report.command,
    }
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items()) + "</dl>"


def _rate(run: RunFigures) -> float:
    return run.offered_per_s or 0.0


def _percent(count: int, run: RunFigures) -> float:
    return 100 * count / max(run.requests, 1)
