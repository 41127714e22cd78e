"""Models: input recipe, card, parity and files."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from bento_service.domain.model_names import BUNDLED_NAMES
from bento_service.errors import ModelLoadError

Interpolation = Literal["nearest", "box", "bilinear", "bicubic", "lanczos"]
Fit = Literal["crop", "squash", "letterbox"]
"""How an image is brought to the model's size: see `InputRecipe`."""
Channels = Literal["rgb", "bgr", "grey"]
ScoreKind = Literal["softmax", "independent"]
"""Whether scores are probabilities that sum to one, or one probability for each label (sigmoid, multi-label)."""


@dataclass(frozen=True, slots=True)
class InputRecipe:
    """How an image becomes a model's input.

    `fit` says how it is brought to `height_px` x `width_px`. `crop` is timm's evaluation transform
    (timm/data/config.py): the short side is resized to `floor(size / crop_fraction)`, then the centre is cropped.
    `squash` resizes both sides, whatever the aspect. `letterbox` resizes the long side and fills the rest, half on
    each side, with the grey `pad_value` (0-255). `crop_fraction` counts for `crop` alone; where it is above 1, the
    crop's border has the `pad_value` too, which is 0 in timm.

    Pixels reach the graph as RGB, or as one channel where `channels` is `grey` (ITU-R 601 luma, as Pillow's mode `L`).
    `is_antialiased` says that a reduction averages all pixels, as Pillow does. Otherwise the image is resized as OpenCV
    does, whose filters count a fixed number of pixels (and whose `crop` rounds otherwise: see `plan_geometry`); any
    `interpolation` but `box` is possible then.
    The graph turns them to BGR where `channels` says so, then normalises them: `mean` and `std`, a value for each
    channel in the order of `channels`, apply to [0, 1].
    """

    height_px: int
    width_px: int
    crop_fraction: float
    interpolation: Interpolation
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fit: Fit = "crop"
    channels: Channels = "rgb"
    pad_value: int = 0
    is_antialiased: bool = True

    @property
    def channel_count(self) -> int:
        """The channels of an image that the graph takes: 1 or 3."""
        return 1 if self.channels == "grey" else 3

    @property
    def shape_hwc(self) -> tuple[int, int, int]:
        """Height, width and channels of an image that the graph takes."""
        return self.height_px, self.width_px, self.channel_count


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
    """A model's description. `version` is a digest of graph, labels and recipe: equal versions give equal answers.

    `found_in` says where an import found labels, recipe and activation. `max_batch` is None where the graph takes any
    batch. `memory_bytes` is what the model took when it was loaded for the first time, or None where nobody measured.
    """

    name: str
    version: str
    labels: tuple[str, ...]
    recipe: InputRecipe
    source: str
    licence: str
    parity: Parity | None = None
    score_kind: ScoreKind = "softmax"
    found_in: Mapping[str, str] = field(default_factory=dict, hash=False)
    max_batch: int | None = None
    memory_bytes: int | None = None

    @property
    def key(self) -> str:
        """`name:version`, which names one version of a model inside a process: in queue, costs and work estimate."""
        return f"{self.name}:{self.version}"

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings in every answer of this model."""
        return () if self.parity is None or self.parity.passes_gate else (INEXACT_MODEL,)


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A prepared model: its card, the files that engines load, and the parity by engine name.

    `program_path` is the torch program, which a model may lack. `stored_at` has a time zone. `has_features` says that
    the ONNX file returns its last feature map too, see `domain.graph`.
    """

    card: ModelCard
    onnx_path: Path
    program_path: Path | None
    parities: Mapping[str, Parity]
    stored_at: datetime | None = None
    has_features: bool = False

    @property
    def is_outdated(self) -> bool:
        """Whether an earlier Lightbox prepared it, and this one can do so again without a download."""
        return self.card.name in BUNDLED_NAMES and not self.has_features

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
