"""Look prepared models up, and check the parity gate before they serve."""

from collections.abc import Sequence
from dataclasses import replace

from bento_service.domain.models import (
    INEXACT_MODEL,
    MAX_PROBABILITY_DIFFERENCE,
    MIN_TOP1_AGREEMENT,
    ModelCard,
    StoredModel,
)
from bento_service.errors import ModelLoadError
from bento_service.models.store import BentoModelStore


class Catalogue:
    """Finds prepared models in a store."""

    def __init__(self, store: BentoModelStore | None = None) -> None:
        """Use a store, or BentoML's own if None."""
        self._store = store or BentoModelStore()

    def missing(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the `names` that are not prepared. Takes milliseconds."""
        return tuple(name for name in names if self._store.find(name) is None)

    def load(self, name: str) -> StoredModel:
        """Return a prepared model.

        Raises:
            ModelLoadError: It is not prepared.
        """
        stored = self._store.find(name)
        if stored is None:
            raise ModelLoadError(
                f"The model {name!r} is not prepared. Run `lightbox models prepare {name}` first.", model=name
            )
        return stored

    def load_to_serve(self, name: str, engine: str, *, allow_inexact: bool = False) -> StoredModel:
        """Return a prepared model whose card has the parity that was measured with `engine`.

        Args:
            name: The model.
            engine: The engine's name.
            allow_inexact: Return it even if it failed the parity gate; its card then has a warning.

        Raises:
            ModelLoadError: It is not prepared, or failed the parity gate.
        """
        stored = self.load(name)
        card = stored.card_served_by(engine)
        if not allow_inexact:
            check_gate(card, engine)
        return replace(stored, card=card)


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
