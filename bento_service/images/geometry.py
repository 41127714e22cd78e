"""The numbers of a resize, a centre crop and an orientation."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.models import InputRecipe


@dataclass(frozen=True, slots=True)
class Geometry:
    """Size of the resized image and place of the crop in it.

    `left_px` or `top_px` is negative where the crop is larger than the image.
    """

    resized_width_px: int
    resized_height_px: int
    left_px: int
    top_px: int
    crop_width_px: int
    crop_height_px: int


def plan_geometry(width_px: int, height_px: int, recipe: InputRecipe) -> Geometry:
    """Compute timm's resize and centre crop (timm/data/transforms_factory.py) for an image of this size.

    A square target follows torchvision's Resize, any other timm's ResizeKeepRatio: they round differently.
    """
    target_width_px = math.floor(recipe.width_px / recipe.crop_fraction)
    target_height_px = math.floor(recipe.height_px / recipe.crop_fraction)
    if target_width_px == target_height_px:
        short_px, long_px = sorted((width_px, height_px))
        resized_long_px = int(target_width_px * long_px / short_px)
        resized = (target_width_px, resized_long_px) if width_px <= height_px else (resized_long_px, target_width_px)
    else:
        ratio = min(height_px / target_height_px, width_px / target_width_px)
        resized = (round(width_px / ratio), round(height_px / ratio))
    return Geometry(
        resized_width_px=resized[0],
        resized_height_px=resized[1],
        left_px=_centre(resized[0], recipe.width_px),
        top_px=_centre(resized[1], recipe.height_px),
        crop_width_px=recipe.width_px,
        crop_height_px=recipe.height_px,
    )


def _centre(resized_px: int, crop_px: int) -> int:
    """Place a crop as torchvision's center_crop does: padding has its smaller half first, offsets round to even."""
    if crop_px > resized_px:
        return -((crop_px - resized_px) // 2)
    return round((resized_px - crop_px) / 2)


@dataclass(frozen=True, slots=True)
class Orientation:
    """An EXIF orientation (CIPA DC-008, tag 274) as operations that make an image upright: transpose, mirror, flip.

    Images are turned after their resize: turning 12 megapixels takes as long as decoding them.
    """

    is_transposed: bool = False
    is_mirrored: bool = False
    is_flipped: bool = False

    def turn(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return an upright view of stored pixels, shape (height, width, ...), without a copy."""
        upright = pixels.swapaxes(0, 1) if self.is_transposed else pixels
        return upright[:: -1 if self.is_flipped else 1, :: -1 if self.is_mirrored else 1]

    def find_stored(self, upright: Geometry) -> Geometry:
        """Return the geometry of the same crop in the stored image."""
        if self == UPRIGHT:
            return upright
        left_px, top_px = upright.left_px, upright.top_px
        if self.is_mirrored:
            left_px = upright.resized_width_px - upright.left_px - upright.crop_width_px
        if self.is_flipped:
            top_px = upright.resized_height_px - upright.top_px - upright.crop_height_px
        if self.is_transposed:
            return Geometry(
                resized_width_px=upright.resized_height_px,
                resized_height_px=upright.resized_width_px,
                left_px=top_px,
                top_px=left_px,
                crop_width_px=upright.crop_height_px,
                crop_height_px=upright.crop_width_px,
            )
        return replace(upright, left_px=left_px, top_px=top_px)


UPRIGHT: Final = Orientation()
BY_EXIF: Final[Mapping[int, Orientation]] = MappingProxyType(
    {
        1: UPRIGHT,
        2: Orientation(is_mirrored=True),
        3: Orientation(is_mirrored=True, is_flipped=True),
        4: Orientation(is_flipped=True),
        5: Orientation(is_transposed=True),
        6: Orientation(is_transposed=True, is_mirrored=True),
        7: Orientation(is_transposed=True, is_mirrored=True, is_flipped=True),
        8: Orientation(is_transposed=True, is_flipped=True),
    }
)
