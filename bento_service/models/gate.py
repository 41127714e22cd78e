"""Serve a model only where its parity passes the gate."""

from bento_service.domain.models import (
    INEXACT_MODEL,
    MAX_PROBABILITY_DIFFERENCE,
    MIN_TOP1_AGREEMENT,
    ModelCard,
    StoredModel,
)
from bento_service.errors import ModelLoadError


def read_card(stored: StoredModel, engine: str, *, allow_inexact: bool = False) -> ModelCard:
    """Return a model's card with the parity that was measured with `engine`.

    `allow_inexact` returns it even if the model fails the parity gate; it then has a warning.

    Raises:
        ModelLoadError: The model fails the parity gate.
    """
    card = stored.card_served_by(engine)
    if not allow_inexact:
        check_gate(card, engine)
    return card


def check_gate(card: ModelCard, engine: str) -> None:
    """Check the parity of a card that was measured with `engine`; a card without parity passes.

    Raises:
        ModelLoadError: The parity fails the gate.
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
