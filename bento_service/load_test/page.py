"""The report as one HTML page that loads nothing."""

from collections.abc import Callable
from functools import partial
from operator import attrgetter

from markupsafe import Markup

from bento_service.load_test.figures import CDF_POINTS, STAGES, RunFigures
from bento_service.load_test.report import (
    OUTCOME,
    BenchReport,
    explain_verdict,
    give_verdict,
    list_cells,
    list_notes,
    name_load,
)
from bento_service.pages.frame import render_page
from bento_service.pages.plots import Axis, Bar, Guide, Series, draw_bars, draw_lines

_MAX_NAMES = 50
_QUANTILES = ("p50 ms", "p90 ms", "p95 ms", "p99 ms")
_COLUMNS = ("load", "images/s", "within target", *_QUANTILES, "refused", "failed", "requests", OUTCOME)

# Colours: Okabe and Ito (https://jfly.uni-koeln.de/color/).
_STYLE = """.p50, .decode { stroke: #56B4E9; fill: #56B4E9; }
.p95, .inference, .answered { stroke: #0072B2; fill: #0072B2; }
.p99, .failed { stroke: #D55E00; fill: #D55E00; } .queue, .refused { stroke: #E69F00; fill: #E69F00; }
.good { stroke: #009E73; fill: #009E73; } .receive { stroke: #CC79A7; fill: #CC79A7; }
.other { stroke: #9AA3AD; fill: #9AA3AD; }
"""
_BODY = """<h1>{{ title }}, {{ begun_at }}</h1>
<p class="verdict">{{ verdict }}</p>
<p>{{ basis }}</p>
<ul>{% for note in notes %}<li>{{ note }}</li>{% endfor %}</ul>
<div class="plots">
{% for caption, svg in plots %}<figure><figcaption>{{ caption }}</figcaption>{{ svg }}</figure>
{% endfor %}</div>
<div class="table"><table>
<tr>{% for column in columns %}<th>{{ column }}</th>{% endfor %}</tr>
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
<dl>{% for name, value in facts.items() %}<dt>{{ name }}</dt><dd>{{ value }}</dd>{% endfor %}</dl>
"""


def write_page(report: BenchReport) -> str:
    """Return the page; every name in it, also of files, is escaped."""
    title = f"Load test of {report.subject.url}"
    return render_page(
        _BODY,
        title=title,
        style=_STYLE,
        begun_at=report.begun_at,
        verdict=give_verdict(report),
        basis=" ".join(explain_verdict(report)),
        notes=list_notes(report),
        plots=[(caption, Markup(svg)) for caption, svg in _plots(report).items()],  # noqa: S704 - escaped there
        columns=_COLUMNS,
        rows=[[list_cells(run)[column] for column in _COLUMNS] for run in report.runs],
        facts=_facts(report),
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
