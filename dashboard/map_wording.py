"""The sentences about an explanation's map. Pure functions; all return plain text."""

import math

from dashboard import wording
from dashboard.heatmap import hides_something, is_cut
from lightbox_client import LightboxClientError, ProblemError
from lightbox_client.contract import Explanation, Prediction
from lightbox_client.errors import InvalidRequestError

OCCLUSION_RUNS = 49
"""A map by occlusion has 7 x 7 cells, and the model runs once for each."""


def description(explanation: Explanation) -> str:
    """Say in one sentence what the map shows, how it was made, whether it is exact, and how large a cell is."""
    rows, columns = len(explanation.grid), len(explanation.grid[0])
    width_px, height_px = explanation.box.width / columns, explanation.box.height / rows
    exactness = "an exact" if explanation.is_exact else "an estimated"
    how = "class activation map" if explanation.method == "cam" else "map by occlusion, one cell covered at a time,"
    return (
        f"Orange speaks for {explanation.label}, blue against it: {exactness} {how} of {columns} × {rows} cells, "
        f"each {_pixels(width_px)} × {_pixels(height_px)} px of the photograph."
    )


def details(explanation: Explanation) -> str:
    """Say what a cell is worth, what the model did not see, and what the map took."""
    sentences = []
    if explanation.method == "occlusion":
        covered = min(1.0, explanation.score * math.exp(-_most(explanation)))
        sentences.append(
            f"With its strongest cell covered, the score is {wording.percent(covered)} instead of "
            f"{wording.percent(explanation.score)}."
        )
    if hides_something(explanation):
        cut = ", and not all of it is drawn" if is_cut(explanation) else ""
        sentences.append(f"The model does not see the dark part{cut}.")
    sentences.append(f"Made in {wording.milliseconds(explanation.timings_ms.total)}.")
    return " ".join(sentences)


def alternative(name: str, explanation: Explanation) -> str:
    """Describe the picture to those who do not see it."""
    where = f"is strongest {_place(explanation)}" if _most(explanation) > 0 else "has no part that speaks for it"
    return f"{name} with the map for {explanation.label} over it, which {where}"


def choice(prediction: Prediction, label: str) -> str:
    """Name a class among those that have a map."""
    return f"Map for {label} ({wording.percent(prediction.score)})"


def offer(label: str) -> str:
    """Say what an estimate is and what it costs."""
    return (
        f"This model has no class activation map. An estimate for {label} runs it {OCCLUSION_RUNS} times, each time "
        "with another part of the photograph covered; images of others go first."
    )


def failure(error: LightboxClientError) -> str:
    """Say in one sentence why there is no map."""
    if is_too_old(error):
        return "The service is older than this dashboard and makes no maps. Update it to see them."
    return wording.problem(error)


def is_too_old(error: object) -> bool:
    """Whether the service does not know the call at all."""
    return isinstance(error, ProblemError) and error.code == "not_found"


def has_no_cam(error: object) -> bool:
    """Whether a model has no class activation map; of a class that it answered with, nothing else is refused so."""
    return isinstance(error, InvalidRequestError) and error.code == "invalid_parameter"


def _pixels(length: float) -> str:
    return f"{length:,.0f}" if length >= 10 else f"{length:.1f}"


def _most(explanation: Explanation) -> float:
    return max(max(row) for row in explanation.grid)


def _place(explanation: Explanation) -> str:
    """Return where the strongest cell lies, in thirds of the photograph."""
    cell = explanation.strongest
    across = (cell.left + cell.width / 2) / explanation.image.width
    down = (cell.top + cell.height / 2) / explanation.image.height
    column = "left" if across < 1 / 3 else "right" if across > 2 / 3 else ""
    row = "at the top" if down < 1 / 3 else "at the bottom" if down > 2 / 3 else ""
    if row and column:
        return f"{row} {column}"
    return row or (f"on the {column}" if column else "in the middle")
