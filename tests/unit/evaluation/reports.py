"""Reports of an evaluation, as tests need them."""

from collections.abc import Mapping, Sequence

from bento_service.evaluation.comparison import compare
from bento_service.evaluation.folders import Photograph
from bento_service.evaluation.report import EvaluatedModel, EvaluationReport
from bento_service.evaluation.tally import Scored, Tally

LABELS = ("cat", "dog", "fox", *(f"class {number}" for number in range(3, 30)))


def make_tally(
    answers: Sequence[tuple[int, int]],
    *,
    labels: Sequence[str] = LABELS,
    path: str = "photos/cat/{}.jpg",
    score: float = 0.9,
) -> Tally:
    """A tally of answers, each the right class and the one that was named, with `score`."""
    tally = Tally(labels)
    for number, (right, named) in enumerate(answers):
        best = [(named, score), (right, 1 - score)] if named != right else [(named, score)]
        true_score = score if named == right else 1 - score
        tally.add(
            Photograph(path.format(number), right), Scored(best, true_score, decode_ms=2, inference_ms=5, total_ms=9)
        )
    return tally


def make_report(
    tallies: Mapping[str, Tally], *, min_accuracy: float | None = None, found: int = 4, ignored: int = 0
) -> EvaluationReport:
    """A report of models by name; those after the first are compared with it."""
    first = next(iter(tallies.values()))
    models = tuple(
        EvaluatedModel(
            name,
            "v1",
            "openvino f32",
            "softmax",
            len(LABELS),
            tally.finish(2.0),
            None if tally is first else compare(first.verdicts, tally.verdicts),
        )
        for name, tally in tallies.items()
    )
    command = "lightbox evaluate …"
    return EvaluationReport("2026-11-30", command, "photos", "this process", found, ignored, 2, models, min_accuracy)
