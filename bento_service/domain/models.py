"""Models: input recipe, card, parity and files."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from bento_service.errors import ModelLoadError

Interpolation = Literal["bilinear", "bicubic"]


@dataclass(frozen=True, slots=True)
class InputRecipe:
    """The parameters of timm's evaluation transform for a model (timm/data/config.py).

    The short side is resized to `floor(size / crop_fraction)`, then the centre is cropped to `height_px` x `width_px`.
    `mean` and `std` apply to RGB in [0, 1], within the engine's graph.
    """

    height_px: int
    width_px: int
    crop_fraction: float
    interpolation: Interpolation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


MIN_TOP1_AGREEMENT = 0.995
MAX_PROBABILITY_DIFFERENCE = 0.02
"""The limits of the parity gate, for engines that serve without `LIGHTBOX_ALLOW_INEXACT`."""

INEXACT_MODEL = "inexact_model"
"""The warning in every answer of a model that failed the parity gate."""


@dataclass(frozen=True, slots=True)
class Parity:
    """The difference of a serving path from f32 PyTorch on timm's evaluation transform, over `crops` images.

    `top1_agreement` is the share of equal best classes.
    """

    crops: int
    top1_agreement: float
    max_probability_difference: float

    @property
    def passes_gate(self) -> bool:
        """Whether both figures are within the limits."""
        return (
            self.top1_agreement >= MIN_TOP1_AGREEMENT and self.max_probability_difference <= MAX_PROBABILITY_DIFFERENCE
        )


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model's description. `version` is a digest of graph, labels and recipe: equal versions give equal answers."""

    name: str
    version: str
    labels: tuple[str, ...]
    recipe: InputRecipe
    source: str
    licence: str
    parity: Parity | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings in every answer of this model."""
        return () if self.parity is None or self.parity.passes_gate else (INEXACT_MODEL,)


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A prepared model: its card, the files that engines load, and the parity by engine name.

    `program_path` is the torch program, which a model may lack.
    """

    card: ModelCard
    onnx_path: Path
    program_path: Path | None
    parities: Mapping[str, Parity]

    def card_served_by(self, engine_name: str) -> ModelCard:
        """Return the card with an engine's parity, or with none where it was not measured."""
        return replace(self.card, parity=self.parities.get(engine_name))

    def require_program(self) -> Path:
        """Return the torch program's path.

        Raises:
            ModelLoadError: The model has none.
        """
        if self.program_path is None:
            name = self.card.name
            raise ModelLoadError(
                f"The model {name!r} has no torch program, which the engine `torch` runs. Write one where PyTorch is "
                f"installed (`lightbox models prepare --torch-program {name}`), or set the engine to `auto`.",
                model=name,
            )
        return self.program_path
