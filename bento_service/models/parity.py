"""The parity gate: how far a serving path's answers lie from the reference's."""

import numpy as np
from numpy.typing import NDArray

from bento_service.domain import Parity

MIN_TOP1_AGREEMENT = 0.995
MAX_PROBABILITY_DIFFERENCE = 0.02


def compare(reference: NDArray[np.float32], served: NDArray[np.float32]) -> Parity:
    """Compare two paths' probabilities over the same images, both of shape (n, classes), n >= 1.

    Raises:
        ValueError: The shapes differ, or there is nothing to compare.
    """
    if reference.shape != served.shape or reference.ndim != 2 or reference.shape[0] == 0:
        raise ValueError(f"cannot compare shapes {reference.shape} and {served.shape}: both must be (n >= 1, classes)")
    agreement = np.mean(reference.argmax(axis=1) == served.argmax(axis=1))
    difference = np.abs(reference.astype(np.float64) - served.astype(np.float64)).max()
    return Parity(
        crops=reference.shape[0], top1_agreement=float(agreement), max_probability_difference=float(difference)
    )


def passes_gate(parity: Parity) -> bool:
    """Tell whether a path may be on by default: top-1 agrees on 99.5 %, and no probability moves by more than 0.02."""
    return (
        parity.top1_agreement >= MIN_TOP1_AGREEMENT and parity.max_probability_difference <= MAX_PROBABILITY_DIFFERENCE
    )
