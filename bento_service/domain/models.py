"""What a model is: its input recipe, its card, and how exact it is."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

Interpolation = Literal["bilinear", "bicubic"]


@dataclass(frozen=True, slots=True)
class InputRecipe:
    """How a model wants its images: timm's evaluation transform, as data (timm/data/config.py).

    The short side is resized to `floor(size / crop_fraction)`, then the centre is cropped to `height_px` x `width_px`.
    `mean` and `std` apply to RGB in [0, 1]; the engine's graph applies them, not the intake.
    """

    height_px: int
    width_px: int
    crop_fraction: float
    interpolation: Interpolation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


MIN_TOP1_AGREEMENT = 0.995


MAX_PROBABILITY_DIFFERENCE = 0.02
"""The parity gate: what a path has to keep to if it is to serve without being asked for."""


INEXACT_MODEL = "inexact_model"
"""The warning in every answer of a model that failed the parity gate and is served all the same."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How far a serving path's answers lie from f32 PyTorch on timm's evaluation transform.

    `top1_agreement` is a share in [0, 1]; `max_probability_difference` the largest move of any class probability.
    """

    crops: int
    top1_agreement: float
    max_probability_difference: float

    @property
    def passes_gate(self) -> bool:
        """Whether the path may serve without being asked for."""
        return (
            self.top1_agreement >= MIN_TOP1_AGREEMENT and self.max_probability_difference <= MAX_PROBABILITY_DIFFERENCE
        )


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a model is and where it comes from.

    `version` is a digest of weights and input recipe, so equal versions give equal answers.
    """

    name: str
    version: str
    labels: tuple[str, ...]
    recipe: InputRecipe
    source: str
    licence: str
    parity: Parity | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What every answer of this model has to warn of."""
        return () if self.parity is None or self.parity.passes_gate else (INEXACT_MODEL,)


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A prepared model, as files that an engine loads; reading it needs no torch.

    `parities` holds what was measured as the model was prepared, by the name of the engine it was measured with.
    """

    card: ModelCard
    onnx_path: Path
    program_path: Path
    parities: Mapping[str, Parity]

    def card_served_by(self, engine_name: str) -> ModelCard:
        """Return the card with the parity figures of an engine, or with none where it was not measured."""
        return replace(self.card, parity=self.parities.get(engine_name))
