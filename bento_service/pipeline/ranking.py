"""The best classes of an image, out of the scores that the engine returns."""

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.requests import Prediction


def rank(scores: NDArray[np.float32], labels: tuple[str, ...], count: int) -> tuple[Prediction, ...]:
    """Return the `count` best classes, by descending score, ties by class_id.

    Args:
        scores: Probabilities, shape (classes,).
        labels: As many labels as classes.
        count: How many; all classes where there are fewer.
    """
    losses = -scores
    if count < len(losses):
        # Only what can be among the best is sorted: a third of the time at a thousand classes.
        candidates = np.flatnonzero(losses <= np.partition(losses, count - 1)[count - 1])
        best = candidates[np.argsort(losses[candidates], kind="stable")][:count]
    else:
        best = np.argsort(losses, kind="stable")
    return tuple(Prediction(int(class_id), labels[class_id], float(scores[class_id])) for class_id in best)
