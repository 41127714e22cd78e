"""The report as one HTML page that loads nothing: no network, no script; light or dark as the reader's system."""

from collections.abc import Callable, Sequence
from functools import partial

from jinja2 import Environment
from markupsafe import Markup

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
COLUMNS = ("load", "images/s", "within target", "p50", "p90", "p95", "p99", "refused", "failed", "requests", "")

# The content policy holds back what escaping might miss. Colours: Okabe and Ito (https://jfly.uni-koeln.de/color/).
TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Load test of {{ report.subject.url }}</title>
<style>
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
</style></head><body>
<h1>Load test of {{ report.subject.url }}, {{ report.begun_at }}</h1>
<p class="verdict">{{ verdict }}</p>
<p>{{ basis }}</p>
<ul>{% for note in notes %}<li>{{ note }}</li>{% endfor %}</ul>
<div class="plots">
{% for title, svg in plots %}<figure><figcaption>{{ title }}</figcaption>{{ svg }}</figure>
{% endfor %}</div>
<div class="table"><table>
<tr>{% for column in columns %}<th>{{ column }}</th>{% endfor %}</tr>
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
<dl>{% for name, value in facts.items() %}<dt>{{ name }}</dt><dd>{{ value }}</dd>{% endfor %}</dl>
</body></html>
"""


def write_page(report: BenchReport) -> str:
    """Return the page; every name in it, also of files, is escaped."""
    kept = report.kept
    steps = sorted(report.survey.steps, key=_rate)
    return (
        Environment(autoescape=True)
        .from_string(TEMPLATE)
        .render(
            report=report,
            verdict=give_verdict(report),
            basis=(f"There p99 was {describe_p99(kept)} over {kept.requests} requests. " if kept else "")
            + explain_limit(report),
            notes=list_notes(report),
            plots=[(title, Markup(svg)) for title, svg in _plots(report, steps).items()],  # noqa: S704 - escaped there
            columns=COLUMNS,
            rows=[_row(run, "") for run in report.survey.probes] + [_row(run, name_outcome(run)) for run in steps],
            facts=_facts(report),
        )
    )


def _plots(report: BenchReport, steps: Sequence[RunFigures]) -> dict[str, str]:
    """Return each plot by its title."""
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
        Series(name, name, [(_rate(run), 100 * getattr(run, name) / max(run.requests, 1)) for run in steps])
        for name in ("refused", "failed")
    ]
    one = report.kept or next(iter(report.survey.steps or report.survey.probes))
    points = [(ms, 100 * number / CDF_POINTS) for number, ms in enumerate(one.cdf_ms)]
    bars = [
        Bar(name_load(run) if run.offered_per_s else "alone", [(stage, run.stages_ms[stage]) for stage in STAGES])
        for run in [*report.survey.probes[:1], *steps]
        if run.stages_ms
    ]
    ms = Axis("ms", is_log=True)
    plots: dict[str, Callable[..., str]] = {
        "Latency against offered rate": partial(draw_lines, offered, ms, latencies, [target, *chosen]),
        "Throughput against offered rate": partial(draw_lines, offered, Axis("images/s"), rates, chosen),
        f"Answers within a latency, at {name_load(one)}": partial(
            draw_lines,
            ms,
            Axis("% of answers"),
            [Series("answered", "answered", points)],
            [Guide("target", x=report.target_ms)],
            dots=False,
        ),
        "Where an answer's time went": partial(draw_bars, "ms, mean", bars, STAGES),
        "Refused and failed": partial(draw_lines, offered, Axis("% of requests"), lost),
    }
    return {title: draw(title=title) for title, draw in plots.items()}


def _row(run: RunFigures, outcome: str) -> list[str]:
    percentiles = [f"{ms:.1f}" if ms is not None else "–" for ms in (run.p50_ms, run.p90_ms, run.p95_ms, run.p99_ms)]
    rates = [format_rate(run.throughput_per_s), format_rate(run.goodput_per_s)]
    return [name_load(run), *rates, *percentiles, str(run.refused), str(run.failed), str(run.requests), outcome]


def _facts(report: BenchReport) -> dict[str, str]:
    subject = report.subject
    names = ", ".join(subject.image_names[:MAX_NAMES]) + (", …" if len(subject.image_names) > MAX_NAMES else "")
    return {
        "model": f"{subject.model} ({subject.model_version})",
        **subject.service,
        "target": f"p99 ≤ {report.target_ms:g} ms, {report.target_source}",
        "images": f"{len(subject.image_names)}, median {subject.image_bytes_median / 1000:.0f} kB: {names}",
        "method": "Poisson arrivals, drawn in advance; latency counts from when a request was due",
        "command": report.command,
    }


def _rate(run: RunFigures) -> float:
    return run.offered_per_s or 0.0
