"""What the sources of models share."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bento_service.domain.models import InputRecipe, ModelCard, ScoreKind
from bento_service.errors import ModelLoadError

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import nn

UNKNOWN_LICENCE = "unknown"
"""The licence on a card where none is stated for the weights; the licence of the code does not cover them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDescription:
    """What the source of a classifier says of it. `licence` is that of the weights, or `UNKNOWN_LICENCE`."""

    name: str
    labels: tuple[str, ...]
    recipe: InputRecipe
    source: str
    licence: str
    score_kind: ScoreKind = "softmax"

    def to_card(self, version: str) -> ModelCard:
        """Return the model's card, without parity."""
        return ModelCard(
            self.name, version, self.labels, self.recipe, self.source, self.licence, score_kind=self.score_kind
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltModel(ModelDescription):
    """A classifier whose graph was built without PyTorch; `domain.graph` says what it takes and returns."""

    graph: "ModelProto"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel(ModelDescription):
    """A classifier in PyTorch.

    `module` is in evaluation mode, on the CPU, in f32. It takes normalised pixels of shape (n, channels, height, width)
    in the order of `recipe.channels`, and returns logits of shape (n, len(labels)).
    """

    module: "nn.Module"


def unknown_model(name: str, known: Sequence[str], *, allowed: str) -> ModelLoadError:
    """Return the error for an unknown name, with the closest `known` ones; `allowed` is a sentence about valid ones."""
    matches = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    meant = f" Did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""
    return ModelLoadError(f"There is no model {name!r}.{meant} {allowed}", model=name, close_matches=tuple(matches))
