"""The models that are prepared: which there are, and their files. Reading them needs no PyTorch."""

from collections.abc import Sequence
from dataclasses import replace

from bento_service.errors import ModelLoadError
from bento_service.models.parity_gate import check_gate
from bento_service.models.store import BentoModelStore, StoredModel


class Catalogue:
    """Finds prepared models in a store."""

    def __init__(self, store: BentoModelStore | None = None) -> None:
        """Take the store; the one that BentoML is set to, if None."""
        self._store = store or BentoModelStore()

    def missing(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return those of `names` that are not prepared yet. Takes milliseconds."""
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
            engine: What is to run it.
            allow_inexact: Return it even if it failed the parity gate; its card warns then.

        Raises:
            ModelLoadError: It is not prepared, or failed the parity gate.
        """
        stored = self.load(name)
        card = stored.card_served_by(engine)
        if not allow_inexact:
            check_gate(card, engine)
        return replace(stored, card=card)
