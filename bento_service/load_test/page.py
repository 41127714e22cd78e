"""The report as one HTML page that loads nothing: no network, no script; light or dark as the reader's system."""

from collections.abc import Callable
from functools import partial
from operator import attrgetter

from jinja2 import Environment
from markupsafe import Markup

from bento_service.load_test.figures import CDF_POINTS, STAGES, RunFigures
from bento_service.load_test.plots import Axis, Bar, Guide, Series, draw_bars, draw_lines
from bento_service.load_test.report import (
    OUTCOME,
    BenchReport,
    explain_verdict,
    give_verdict,
    list_cells,
    list_notes,
    name_load,
)

_MAX_NAMES = 50
_QUANTILES = ("p50 ms", "p90 ms", "p95 ms", "p99 ms")
_COLUMNS = ("load", "images/s", "within target", *_QUANTILES, "refused", "failed", "requests", OUTCOME)

# The content policy holds back what escaping might miss. Colours: Okabe and Ito (https://jfly.uni-koeln.de/color/).
_TEMPLATE = """<!doctype html>
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
    return (
        Environment(autoescape=True)
        .from_string(_TEMPLATE)
        .render(
            report=report,
            verdict=give_verdict(report),
            basis=" ".join(explain_verdict(report)),
            notes=list_notes(report),
            plots=[(title, Markup(svg)) for title, svg in _plots(report).items()],  # noqa: S704 - escaped there
            columns=_COLUMNS,
            rows=[[list_cells(run)[column] for column in _COLUMNS] for run in report.runs],
            facts=_facts(report),
        )
    )


def _plots(report: BenchReport) -> dict[str, str]:
    """Return each plot by its title."""
    steps = [run for run in report.runs if run.offered_per_s is not None]
    one = report.kept or next(iter(report.survey.steps or report.survey.probes))

    def line(name: str, style: str, value: Callable[[RunFigures], float | None]) -> Series:
        return Series(name, style, [(run.offered_per_s or 0.0, value(run)) for run in steps])

    offered, ms = Axis("images/s offered"), Axis("ms", is_log=True)
    target = Guide(f"target {report.target_ms:g} ms", y=report.target_ms)
    kept = [Guide("kept", x=report.kept.offered_per_s)] if report.kept else []
    latencies = [line(name, name, attrgetter(f"{name}_ms")) for name in ("p50", "p95", "p99")]
    rates = [
        line("answered", "answered", attrgetter("throughput_per_s")),
        line("answered within the target", "good", attrgetter("goodput_per_s")),
    ]
    lost = [
        line("refused", "refused", lambda run: 100 * run.refused / max(run.requests, 1)),
        line("failed", "failed", lambda run: 100 * run.failed / max(run.requests, 1)),
    ]
    points = [(value_ms, 100 * number / CDF_POINTS) for number, value_ms in enumerate(one.cdf_ms)]
    distribution = [Series("answered", "answered", points)]
    bars = [
        Bar(name_load(run) if run.offered_per_s else "alone", [(stage, run.stages_ms[stage]) for stage in STAGES])
        for run in [*report.survey.probes[:1], *steps]
        if run.stages_ms
    ]
    plots: dict[str, Callable[..., str]] = {
        "Latency against offered rate": partial(draw_lines, offered, ms, latencies, [target, *kept]),
        "Throughput against offered rate": partial(draw_lines, offered, Axis("images/s"), rates, kept),
        f"Answers within a latency, at {name_load(one)}": partial(
            draw_lines, ms, Axis("% of answers"), distribution, [Guide("target", x=report.target_ms)], dots=False
        ),
        "Where an answer's time went": partial(draw_bars, "ms, mean", bars, STAGES),
        "Refused and failed": partial(draw_lines, offered, Axis("% of requests"), lost),
    }
    return {title: draw(title=title) for title, draw in plots.items()}


def _facts(report: BenchReport) -> dict[str, str]:
    subject = report.subject
    names = ", ".join(subject.image_names[:_MAX_NAMES]) + (", …" if len(subject.image_names) > _MAX_NAMES else "")
    return {
        "model": f"{subject.model} ({subject.model_version})",
        **subject.service,
        "target": f"p99 ≤ {report.target_ms:g} ms, {report.target_source}",
        "images": f"{len(subject.image_names)}, median {subject.image_bytes_median / 1000:.0f} kB: {names}",
        "method": "Poisson arrivals, drawn in advance; latency counts from when a request was due",
        "command": report.command,
    }
