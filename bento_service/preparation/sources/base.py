"""The interface of a source of models."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bento_service.domain.models import InputRecipe
from bento_service.errors import ModelLoadError

if TYPE_CHECKING:
    from torch import nn

UNKNOWN_LICENCE = "unknown"
"""The licence on a card where none is stated for the weights; the licence of the code does not cover them."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A classifier in memory.

    `module` is in evaluation mode, on the CPU, in f32. It takes normalised RGB of shape (n, 3, height, width) and
    returns logits of shape (n, len(labels)). `licence` is that of the weights, or `UNKNOWN_LICENCE`.
    """

    name: str
    module: "nn.Module"
    labels: tuple[str, ...]
    recipe: InputRecipe
    source: str
    licence: str


class ModelSource(Protocol):
    """A source of models. Each name belongs to exactly one source."""

    def offers(self, name: str) -> bool:
        """Tell whether a name has this source's form; the model itself may not exist."""

    def load(self, name: str) -> LoadedModel:
        """Load a model with its weights. May download them.

        Raises:
            ModelLoadError: There is no such model, or its weights cannot be downloaded or do not fit it.
        """


def unknown_model(name: str, known: Sequence[str], *, allowed: str) -> ModelLoadError:
    """Return the error for an unknown name, with the closest names.

    Args:
        name: The name.
        known: All valid names.
        allowed: A sentence about valid names.
    """
    matches = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    meant = f" Did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""
    return ModelLoadError(f"There is no model {name!r}.{meant} {allowed}", model=name, close_matches=tuple(matches))
