"""The report as one HTML page that loads nothing, with small pictures of the worst mistakes in it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from bento_service.evaluation.figures import Bin, Figures
from bento_service.evaluation.report import (
    EvaluatedModel,
    EvaluationReport,
    compare_models,
    format_number,
    format_share,
    give_verdict,
    list_notes,
    summarise,
)
from bento_service.evaluation.thumbnails import draw_thumbnail
from bento_service.pages.frame import render_page
from bento_service.pages.plots import Axis, Bar, Series, draw_bars, draw_lines

MAX_MATRIX = 20
"""Classes of a confusion matrix, at most; more do not fit on a screen."""
MAX_PAIRS = 20
_OPEN_CLASSES = 30
_MAX_FAILURES = 100
_MAX_NAME = 40

# Colours: Okabe and Ito (https://jfly.uni-koeln.de/color/).
_STYLE = """h2 { margin: 2.5rem 0 .3rem; } h3 { margin: 1.8rem 0 .3rem; }
.right, .accuracy { stroke: #0072B2; fill: #0072B2; } .wrong { stroke: #D55E00; fill: #D55E00; }
.line.even { stroke: var(--faint); stroke-dasharray: 5 4; } .bar.even { fill: var(--faint); }
.dot.even { display: none; }
.faint { color: var(--faint); } .name { text-align: left; }
.matrix td { text-align: center; min-width: 2.2rem; } .matrix td:first-child { text-align: left; }
.matrix th { vertical-align: bottom; } .matrix th span { writing-mode: vertical-rl; transform: rotate(180deg); }
.hit { background: rgb(0 114 178 / calc(var(--share) * 75%)); }
.miss { background: rgb(213 94 0 / calc(var(--share) * 75%)); }
.mistakes { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: 1.2rem; }
.mistakes figcaption { font-weight: 400; line-height: 1.35; overflow-wrap: anywhere; }
.mistakes img, .mistakes .gone { display: block; height: 9rem; max-width: 100%; object-fit: contain;
  object-position: left; margin-bottom: .3rem; }
"""
_BODY = """<h1>Evaluation of {{ names | join(", ") }}, {{ report.begun_at }}</h1>
<p class="verdict">{{ verdict }}</p>
{% for sentence in comparisons %}<p>{{ sentence }}</p>
{% endfor %}
<ul>{% for note in notes %}<li>{{ note }}</li>{% endfor %}</ul>
<div class="table"><table class="models">
<tr>{% for column in summary[0] %}<th>{{ column }}</th>{% endfor %}</tr>
{% for row in summary %}<tr>{% for cell in row.values() %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
{% for model in models %}
<section>
{% if models | length > 1 %}<h2>{{ model.name }}</h2>{% endif %}
{% if model.plots %}<div class="plots">
{% for caption, svg in model.plots %}<figure><figcaption>{{ caption }}</figcaption>{{ svg }}</figure>
{% endfor %}</div>
<p class="faint">{{ model.reliability }}</p>{% endif %}
{% if model.matrix %}<h3>Confusion matrix</h3>
<p class="faint">A row for the class of the folder, a column for the answer.</p>
<div class="table"><table class="matrix">
<tr><th></th>{% for label in model.matrix.columns %}<th><span>{{ label }}</span></th>{% endfor %}</tr>
{% for label, cells in model.matrix.rows %}<tr><td>{{ label }}</td>
{% for kind, share, count in cells %}
<td class="{{ kind }}" style="--share: {{ share }}">{{ count or "" }}</td>{% endfor %}</tr>
{% endfor %}</table></div>{% endif %}
{% if model.pairs %}<h3>Most confused</h3>
<div class="table"><table>
<tr><th>class</th><th class="name">answer</th><th>photographs</th><th>of the class</th></tr>
{% for label, named, count, share in model.pairs %}<tr><td>{{ label }}</td><td class="name">{{ named }}</td>
<td>{{ count }}</td><td>{{ share }}</td></tr>
{% endfor %}</table></div>{% endif %}
{% if model.mistakes %}<h3>Worst mistakes</h3>
<p class="faint">The wrong answers with the highest scores. A mistake may also be one of the folder's.</p>
<div class="mistakes">
{% for mistake in model.mistakes %}<figure>
{% if mistake.picture %}<img src="{{ mistake.picture }}" alt="{{ mistake.path }}">
{% else %}<span class="gone faint">cannot be read any more</span>{% endif %}
<figcaption>answer <b>{{ mistake.named }}</b> {{ mistake.score }}<br>folder <b>{{ mistake.label }}</b>
{{ mistake.true_score }}<br><span class="faint">{{ mistake.path }}</span></figcaption></figure>
{% endfor %}</div>{% endif %}
<h3>By class</h3>
<details{% if model.classes | length <= open_classes %} open{% endif %}>
<summary>{{ model.classes | length }} classes with photographs, lowest recall first</summary>
<div class="table"><table>
<tr>{% for column in class_columns %}<th>{{ column }}</th>{% endfor %}</tr>
{% for row in model.classes %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table></div></details>
{% if model.failures %}<h3>No answer</h3>
<div class="table"><table><tr><th>file</th><th class="name">code</th><th class="name">reason</th></tr>
{% for one in model.failures %}<tr><td>{{ one.path }}</td><td class="name">{{ one.code }}</td>
<td class="name">{{ one.message }}</td></tr>
{% endfor %}</table></div>{% endif %}
</section>
{% endfor %}
<dl>{% for name, value in facts.items() %}<dt>{{ name }}</dt><dd>{{ value }}</dd>{% endfor %}</dl>
"""
_CLASS_COLUMNS = ("class", "photographs", "recall", "precision", "F1")


def write_page(report: EvaluationReport, draw: Callable[[str], str | None] = draw_thumbnail) -> str:
    """Return the page; every label and file name in it is escaped. `draw` makes a photograph's data URI."""
    names = [report.name_of(model) for model in report.models]
    return render_page(
        _BODY,
        title=f"Evaluation of {', '.join(names)}",
        style=_STYLE,
        report=report,
        names=names,
        verdict=give_verdict(report),
        comparisons=compare_models(report),
        notes=list_notes(report),
        summary=[summarise(report, model) for model in report.models],
        models=[_describe(report, model, draw) for model in report.models],
        class_columns=_CLASS_COLUMNS,
        open_classes=_OPEN_CLASSES,
        facts=_facts(report),
    )


def _describe(report: EvaluationReport, model: EvaluatedModel, draw: Callable[[str], str | None]) -> Mapping[str, Any]:
    figures, labels = model.figures, model.labels
    counts = {one.class_id: one.photographs for one in figures.classes}
    wrong = [one for one in figures.confusions if one.class_id != one.named_id]
    matrix = _make_matrix(figures)
    return {
        "name": report.name_of(model),
        "plots": _draw_plots(figures.reliability),
        "reliability": _explain_reliability(figures),
        "matrix": matrix,
        "pairs": [
            (
                labels[one.class_id],
                labels[one.named_id],
                f"{one.count:,}",
                format_share(one.count / counts[one.class_id]),
            )
            for one in wrong[:MAX_PAIRS]
        ],
        "mistakes": [
            {
                "picture": draw(mistake.path),
                "path": report.show_path(mistake.path),
                "named": labels[mistake.named_id],
                "label": labels[mistake.class_id],
                "score": format_share(mistake.score),
                "true_score": format_share(mistake.true_score),
            }
            for mistake in figures.mistakes
        ],
        "classes": [
            (one.label, f"{one.photographs:,}", *map(format_share, (one.recall, one.precision, one.f1)))
            for one in sorted(figures.classes, key=lambda one: (one.recall or 0.0, one.class_id))
            if one.photographs
        ],
        "failures": [
            {"path": report.show_path(one.path), "code": one.code, "message": one.message}
            for one in figures.failures[:_MAX_FAILURES]
        ],
    }


def _make_matrix(figures: Figures) -> Mapping[str, Any] | None:
    """Return the matrix of the classes that have photographs; None where they are too many or only one."""
    seen = [one for one in figures.classes if one.photographs]
    if not 1 < len(seen) <= MAX_MATRIX:
        return None
    counts = {(one.class_id, one.named_id): one.count for one in figures.confusions}
    rows = []
    for one in seen:
        row = [counts.get((one.class_id, other.class_id), 0) for other in seen]
        row.append(one.photographs - sum(row))
        kinds = ["hit" if other is one else "miss" for other in [*seen, None]]
        shares = [round(count / one.photographs, 3) for count in row]
        rows.append((one.label, list(zip(kinds, shares, row, strict=True))))
    columns = [one.label if len(one.label) <= _MAX_NAME else f"{one.label[:_MAX_NAME]}…" for one in seen]
    if not any(cells[-1][2] for _, cells in rows):
        return {"columns": columns, "rows": [(label, cells[:-1]) for label, cells in rows]}
    return {"columns": [*columns, "another class"], "rows": rows}


def _draw_plots(bins: Sequence[Bin] | None) -> list[tuple[str, Markup]]:
    if not bins:
        return []
    even = Series("right as often as the score says", "even", [(0.0, 0.0), (100.0, 100.0)])
    line = Series("this model", "accuracy", [(100 * one.confidence, 100 * one.accuracy) for one in bins])
    bars = [
        Bar(
            f"{100 * one.low:.0f}–{100 * one.high:.0f} %",
            [("right", one.accuracy * one.count), ("wrong", (1 - one.accuracy) * one.count)],
        )
        for one in reversed(bins)
    ]
    ticks = (0.0, 20.0, 40.0, 60.0, 80.0, 100.0)
    axes = Axis("score of the answer, %", ticks=ticks), Axis("right, %", ticks=ticks)
    drawn = {
        "Reliability": draw_lines(*axes, [even, line], title="Reliability"),
        "Photographs by the score of the answer": draw_bars(
            "photographs", bars, ["right", "wrong"], title="Photographs by score"
        ),
    }
    return [(caption, Markup(svg)) for caption, svg in drawn.items()]  # noqa: S704 - escaped there


def _explain_reliability(figures: Figures) -> str:
    return (
        f"Log loss {format_number(figures.log_loss, 3)}: it judges every score, and 0 is perfect. Calibration error "
        f"{format_share(figures.calibration_error)}: the mean distance from the dashed line. It comes second, for it "
        "depends on the bins, and a model that always gives its mean accuracy as the score has none."
    )


def _facts(report: EvaluationReport) -> dict[str, str]:
    return {
        "folder": report.folder,
        "run by": report.run_by,
        **{report.name_of(model): f"{model.name}:{model.version}, {model.engine}" for model in report.models},
        "intervals": "Wilson's, 95 %",
        "command": report.command,
    }
