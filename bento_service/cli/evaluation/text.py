"""The report of an evaluation as text for a terminal."""

from rich.console import Console

from bento_service.cli.output import new_table
from bento_service.cli.plain_text import to_plain
from bento_service.domain.file_names import to_line
from bento_service.evaluation.report import (
    EvaluatedModel,
    EvaluationReport,
    compare_models,
    format_share,
    give_verdict,
    list_notes,
    summarise,
)

_MOST_CLASSES = 15
_MOST_PAIRS = 10
_MOST_MISTAKES = 5


def write_text(report: EvaluationReport, console: Console) -> None:
    """Write what is worst about the first model, then a row for each model, and the verdict with its notes last."""
    for part in (_write_classes, _write_pairs, _write_mistakes):
        part(report.subject, console)
    rows = [summarise(report, model) for model in report.models]
    table = new_table()
    for column in rows[0]:
        table.add_column(column, justify="left" if column == "model" else "right")
    for row in rows:
        table.add_row(*row.values())
    console.print(table)
    console.print()
    console.print(to_plain(give_verdict(report)), style="bold")
    for line in (*compare_models(report), *list_notes(report)):
        console.print(to_plain(line))


def _write_classes(model: EvaluatedModel, console: Console) -> None:
    seen = sorted((one for one in model.figures.classes if one.photographs), key=lambda one: one.recall or 0.0)
    heading = "class" if len(seen) <= _MOST_CLASSES else f"class ({_MOST_CLASSES} of {len(seen)}, lowest recall first)"
    table = new_table()
    table.add_column(heading, overflow="fold")
    for column in ("photographs", "recall", "precision", "F1"):
        table.add_column(column, justify="right")
    for one in seen[:_MOST_CLASSES]:
        shares = map(format_share, (one.recall, one.precision, one.f1))
        table.add_row(to_plain(one.label), f"{one.photographs:,}", *shares)
    console.print(table)
    console.print()


def _write_pairs(model: EvaluatedModel, console: Console) -> None:
    wrong = [one for one in model.figures.confusions if one.class_id != one.named_id]
    if not wrong:
        return
    table = new_table()
    for column in ("most confused: class", "answer"):
        table.add_column(column, overflow="fold")
    table.add_column("photographs", justify="right")
    for one in wrong[:_MOST_PAIRS]:
        table.add_row(*(to_plain(model.labels[index]) for index in (one.class_id, one.named_id)), f"{one.count:,}")
    console.print(table)
    console.print()


def _write_mistakes(model: EvaluatedModel, console: Console) -> None:
    if not model.figures.mistakes:
        return
    table = new_table()
    for column in ("worst mistakes: file", "answer", "score", "class", "its score"):
        table.add_column(column, justify="right" if "score" in column else "left", overflow="fold")
    for one in model.figures.mistakes[:_MOST_MISTAKES]:
        named, label = (to_plain(model.labels[index]) for index in (one.named_id, one.class_id))
        table.add_row(to_line(one.path), named, format_share(one.score), label, format_share(one.true_score))
    console.print(table)
    console.print()
