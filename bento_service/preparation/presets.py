"""Usual input recipes by the names that people know them by."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from bento_service.domain.models import Channels

Preset = Literal["imagenet", "inception", "clip", "zero-one", "caffe-bgr"]
"""The values of `--recipe`."""


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Mean and standard deviation of pixels in [0, 1], in the order of `channels`; see `InputRecipe`."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: Channels = "rgb"


_BYTE: Final = 1 / 255

NORMALISATIONS: Final[Mapping[Preset, Normalisation]] = {
    # timm/data/constants.py
    "imagenet": Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "inception": Normalisation((0.5,) * 3, (0.5,) * 3),
    "clip": Normalisation((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "zero-one": Normalisation((0.0,) * 3, (1.0,) * 3),
    # Caffe's mean of ImageNet's bytes; the deviation keeps the range 0-255.
    "caffe-bgr": Normalisation((104 / 255, 117 / 255, 123 / 255), (_BYTE,) * 3, "bgr"),
}
GEOMETRIES: Final[Mapping[Preset, tuple[float, Literal["bilinear", "bicubic"]]]] = {
    "imagenet": (0.875, "bilinear"),
    "inception": (0.875, "bicubic"),
    "clip": (1.0, "bicubic"),
    "zero-one": (1.0, "bilinear"),
    "caffe-bgr": (0.875, "bilinear"),
}
"""Crop fraction and interpolation that the models of a normalisation usually have: torchvision's presets, timm's
Inception (timm/data/constants.py), CLIP's own transform, Ultralytics, Caffe's reference models."""


BYTES: Final = Normalisation((0.0,), (_BYTE,))
"""Values stay 0-255: of a graph that takes uint8 and normalises inside. Repeat it for each channel."""
