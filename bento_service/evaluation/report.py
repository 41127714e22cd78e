"""The report of an evaluation: its sentences, and the whole of it as JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bento_service.domain.file_names import to_text
from bento_service.evaluation.comparison import Comparison, explain
from bento_service.evaluation.figures import Figures, Share

SCHEMA = "lightbox-evaluation/1"
_MOST_DIGITS = 6


@dataclass(frozen=True, slots=True)
class EvaluatedModel:
    """One model with its figures; `comparison` is that of the report's first model with this one.

    `score_kind` is `softmax` or `independent`, `class_count` the number of the model's classes.
    """

    name: str
    version: str
    engine: str
    score_kind: str
    class_count: int
    figures: Figures
    comparison: Comparison | None = None

    @property
    def labels(self) -> Mapping[int, str]:
        """The labels of the classes that occur."""
        return {one.class_id: one.label for one in self.figures.classes}


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """An evaluation with its circumstances; the first of `models` is the one that was asked for.

    `begun_at` is ISO 8601 in UTC; `command` repeats it. `found` counts the folder's photographs, `ignored` its other
    files; `class_count` the classes that it has photographs of.
    """

    begun_at: str
    command: str
    folder: str
    run_by: str
    found: int
    ignored: int
    class_count: int
    models: tuple[EvaluatedModel, ...]
    min_accuracy: float | None = None

    @property
    def subject(self) -> EvaluatedModel:
        """The model that was asked for."""
        return self.models[0]

    @property
    def is_accurate_enough(self) -> bool:
        """Whether the accuracy itself, not its interval, reaches what was asked for; True where nothing was."""
        return self.min_accuracy is None or self.subject.figures.accuracy.value >= self.min_accuracy

    def show_path(self, path: str) -> str:
        """Return a photograph's path for people, from the folder on."""
        return to_text(path).removeprefix(f"{self.folder}/")

    def name_of(self, model: EvaluatedModel) -> str:
        """Return a model's name, with its version where the report has several of that name."""
        names = [one.name for one in self.models]
        return model.name if names.count(model.name) == 1 else f"{model.name}:{model.version}"


def give_verdict(report: EvaluationReport) -> str:
    """Say in one sentence how accurate the model is, and whether that is enough."""
    figures = report.subject.figures
    accuracy, least, digits = figures.accuracy.value, report.min_accuracy, 1
    if least is not None and not report.is_accurate_enough:
        while digits < _MOST_DIGITS and format_share(accuracy, digits) == format_share(least, digits):
            digits += 1
    sentence = (
        f"{report.name_of(report.subject)} is right on {format_share(accuracy, digits)} of "
        f"{_count(figures.answered, 'photograph')} (95 % confidence: {format_interval(figures.accuracy)})"
    )
    if least is None:
        return sentence
    verdict = "reached" if report.is_accurate_enough else "missed"
    return f"{sentence}; {format_share(least, digits)} was asked for: {verdict}"


def compare_models(report: EvaluationReport) -> list[str]:
    """Return a sentence for each further model: how it differs from the first, and whether that may be chance."""
    return [
        explain(model.comparison, report.name_of(report.subject), report.name_of(model))
        for model in report.models
        if model.comparison is not None
    ]


def list_notes(report: EvaluationReport) -> list[str]:
    """Return the reservations that belong to the figures."""
    figures = report.subject.figures
    notes = [
        (
            figures.photographs < report.found,
            f"A sample of {figures.photographs:,} of {report.found:,} photographs, in which each class has its share.",
        ),
        (
            report.class_count < report.subject.class_count,
            f"The folder has {report.class_count:,} of the model's {report.subject.class_count:,} classes. Any class "
            "may be the answer, and one that the folder does not have is wrong.",
        ),
        (
            report.ignored,
            f"{_count(report.ignored, 'file')} left out: no image by the name, no regular file, or beside the "
            "subfolders.",
        ),
    ]
    listed = [note for applies, note in notes if applies]
    for model in report.models:
        name, figures = report.name_of(model), model.figures
        if figures.failed:
            codes = ", ".join(f"{code} ({count:,})" for code, count in sorted(figures.failed.items()))
            failed = _count(sum(figures.failed.values()), "photograph")
            listed.append(f"Without an answer of {name}, and in no figure: {failed}, {codes}.")
        if figures.log_loss is None:
            listed.append(
                f"The scores of {name} are independent: an image may show several classes, and a folder names one. A "
                "photograph counts as right if its class has the highest score. Log loss and reliability would need "
                "every class of each photograph."
            )
        if figures.speed.cached:
            listed.append(f"{_count(figures.speed.cached, 'answer')} of {name} came from the service's cache.")
    return listed


def summarise(report: EvaluationReport, model: EvaluatedModel) -> dict[str, str]:
    """Return a model's row of the summary, by heading."""
    figures, speed = model.figures, model.figures.speed
    return {
        "model": report.name_of(model),
        "accuracy": format_share(figures.accuracy.value),
        "95 % confidence": format_interval(figures.accuracy),
        "top 5": format_share(figures.top5.value if figures.top5 else None),
        "mean recall": format_share(figures.mean_recall),
        "log loss": format_number(figures.log_loss, 3),
        "calibration error": format_share(figures.calibration_error),
        "images/s": f"{speed.images_per_s:.0f}" if speed.images_per_s >= 10 else f"{speed.images_per_s:.1f}",
        "ms to decode + infer": f"{format_number(speed.decode_ms, 1)} + {format_number(speed.inference_ms, 1)}",
        "no answer": f"{sum(figures.failed.values()):,}",
    }


def to_json(report: EvaluationReport) -> str:
    """Return the report as JSON, sentences included."""
    document = {
        "schema": SCHEMA,
        "verdict": give_verdict(report),
        "comparisons": compare_models(report),
        "notes": list_notes(report),
        **{name: value for name, value in asdict(report).items() if name != "models"},
        "is_accurate_enough": None if report.min_accuracy is None else report.is_accurate_enough,
        "models": [_to_document(model) for model in report.models],
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def format_share(value: float | None, digits: int = 1) -> str:
    """Return a share as per cent with so many digits behind the point; of None, a dash."""
    return "–" if value is None else f"{value:.{digits}%}"


def format_number(value: float | None, digits: int) -> str:
    """Return a number with so many digits behind the point; of None, a dash."""
    return "–" if value is None else f"{value:.{digits}f}"


def format_interval(share: Share) -> str:
    """Return a share's confidence interval."""
    return f"{share.low:.1%} to {share.high:.1%}"


def _to_document(model: EvaluatedModel) -> dict[str, Any]:
    figures, labels = model.figures, model.labels
    document = asdict(model)
    document["figures"] |= {
        "classes": [
            {**asdict(one), "precision": one.precision, "recall": one.recall, "f1": one.f1} for one in figures.classes
        ],
        "confusions": [
            {**asdict(one), "label": labels[one.class_id], "named": labels[one.named_id]} for one in figures.confusions
        ],
        "mistakes": [
            {**asdict(one), "path": to_text(one.path), "label": labels[one.class_id], "named": labels[one.named_id]}
            for one in figures.mistakes
        ],
        "failures": [{**asdict(one), "path": to_text(one.path)} for one in figures.failures],
    }
    if (comparison := model.comparison) is not None:
        document["comparison"] |= {"difference": comparison.difference, "may_be_chance": comparison.may_be_chance}
    return document


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
