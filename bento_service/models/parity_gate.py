"""The parity gate: how far a serving path's answers lie from the reference's, and whether it may serve."""

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.models import INEXACT_MODEL, MAX_PROBABILITY_DIFFERENCE, MIN_TOP1_AGREEMENT, ModelCard, Parity
from bento_service.errors import ModelLoadError


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


def check_gate(card: ModelCard, engine: str) -> None:
    """Pass a model whose parity passes the gate or was never measured.

    Args:
        card: With the parity that was measured with `engine`.
        engine: What is to run the model.

    Raises:
        ModelLoadError: Its parity was measured and fails.
    """
    parity = card.parity
    if parity is None or parity.passes_gate:
        return
    other = "Set another model" if engine == "torch" else "Serve it with LIGHTBOX_ENGINE=torch"
    raise ModelLoadError(
        f"{card.name!r} on the engine `{engine}` fails the parity gate: over {parity.crops} photographs its best class "
        f"agrees with the reference on {parity.top1_agreement:.1%}, and a probability moves by up to "
        f"{parity.max_probability_difference:.4f}; at least {MIN_TOP1_AGREEMENT:.1%} and at most "
        f"{MAX_PROBABILITY_DIFFERENCE:g} are allowed. {other}, or accept it with LIGHTBOX_ALLOW_INEXACT=true: each of "
        f"its answers then has the warning `{INEXACT_MODEL}`.",
        model=card.name,
    )
