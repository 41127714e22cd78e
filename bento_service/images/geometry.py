"""The numbers of a resize, a centre crop or padding, and an orientation."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.models import InputRecipe


@dataclass(frozen=True, slots=True)
class Axis:
    """A resize and crop along one axis; `start_px` is negative where the crop is larger than the resized image.

    The crop's part outside the image is filled: so letterboxes are crops too.
    """

    resized_px: int
    start_px: int
    crop_px: int

    @property
    def end_px(self) -> int:
        """Where the crop ends in the resized image."""
        return self.start_px + self.crop_px

    def reverse(self) -> "Axis":
        """Return the same crop, counted from the other end."""
        return Axis(self.resized_px, self.resized_px - self.end_px, self.crop_px)


class Geometry(NamedTuple):
    """A resize and crop of an image."""

    across: Axis
    down: Axis


def plan_geometry(width_px: int, height_px: int, recipe: InputRecipe) -> Geometry:
    """Compute the resize and crop of an image of this size, as timm does (timm/data/transforms_factory.py).

    Its `crop_mode` of the three fits is `center`, `squash` and `border`, the last two with a `crop_pct` of 1.

    Where the recipe is not antialiased, `crop` is that of PaddleClas (ppcls/data/preprocess/ops/operators.py), as of
    most code that resizes with OpenCV: the long side is rounded and not cut, and offsets are rounded down.
    """
    if recipe.fit == "squash":
        resized = recipe.width_px, recipe.height_px
    elif recipe.fit == "letterbox":
        ratio = max(height_px / recipe.height_px, width_px / recipe.width_px)
        resized = max(1, round(width_px / ratio)), max(1, round(height_px / ratio))
    elif recipe.is_antialiased:
        resized = _cover(width_px, height_px, recipe)
    else:
        return _crop_as_paddle(width_px, height_px, recipe)
    return Geometry(_centre(resized[0], recipe.width_px), _centre(resized[1], recipe.height_px))


def _cover(width_px: int, height_px: int, recipe: InputRecipe) -> tuple[int, int]:
    """Return the width and height that timm resizes to before it crops the centre.

    A square target follows torchvision's Resize, any other timm's ResizeKeepRatio: they round differently.
    """
    target_width_px = math.floor(recipe.width_px / recipe.crop_fraction)
    target_height_px = math.floor(recipe.height_px / recipe.crop_fraction)
    if target_width_px == target_height_px:
        short_px, long_px = sorted((width_px, height_px))
        resized_long_px = int(target_width_px * long_px / short_px)
        return (target_width_px, resized_long_px) if width_px <= height_px else (resized_long_px, target_width_px)
    ratio = min(height_px / target_height_px, width_px / target_width_px)
    return round(width_px / ratio), round(height_px / ratio)


def _crop_as_paddle(width_px: int, height_px: int, recipe: InputRecipe) -> Geometry:
    target_width_px = math.floor(recipe.width_px / recipe.crop_fraction)
    target_height_px = math.floor(recipe.height_px / recipe.crop_fraction)
    ratio = max(target_width_px / width_px, target_height_px / height_px)
    resized_width_px, resized_height_px = round(width_px * ratio), round(height_px * ratio)
    return Geometry(
        Axis(resized_width_px, (resized_width_px - recipe.width_px) // 2, recipe.width_px),
        Axis(resized_height_px, (resized_height_px - recipe.height_px) // 2, recipe.height_px),
    )


def _centre(resized_px: int, crop_px: int) -> Axis:
    """Place a crop as torchvision's center_crop does: padding has its smaller half first, offsets round to even."""
    if crop_px > resized_px:
        return Axis(resized_px, -((crop_px - resized_px) // 2), crop_px)
    return Axis(resized_px, round((resized_px - crop_px) / 2), crop_px)


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

    def turn_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the upright width and height of an image that is stored in this size."""
        return size[::-1] if self.is_transposed else size

    def find_stored(self, upright: Geometry) -> Geometry:
        """Return the geometry of the same crop in the stored image."""
        across = upright.across.reverse() if self.is_mirrored else upright.across
        down = upright.down.reverse() if self.is_flipped else upright.down
        return Geometry(down, across) if self.is_transposed else Geometry(across, down)


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
