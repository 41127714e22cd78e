"""What a source of models promises, wherever the weights come from."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bento_service.domain.models import InputRecipe
from bento_service.errors import ModelLoadError

if TYPE_CHECKING:
    from torch import nn

UNKNOWN_LICENCE = "unknown"
"""What a card says where nobody names a licence of the weights; that of the code around them says nothing of them."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A classifier in memory, as its source gave it.

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
    """A place that models come from. Each name belongs to exactly one source."""

    def offers(self, name: str) -> bool:
        """Tell whether a name is in this source's form; the model itself may still not exist."""

    def load(self, name: str) -> LoadedModel:
        """Load a model with its weights. May download them.

        Raises:
            ModelLoadError: There is no such model, its weights cannot be had, or they do not fit it.
        """


def unknown_model(name: str, known: Sequence[str], *, allowed: str) -> ModelLoadError:
    """Make the error for a name that no source has, with the names closest to it.

    Args:
        name: What was asked for.
        known: Every name that could have been meant.
        allowed: What a name may be, as a sentence.
    """
    matches = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    meant = f" Did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""
    return ModelLoadError(f"There is no model {name!r}.{meant} {allowed}", model=name, close_matches=tuple(matches))
