"""From any size to the size that a model takes, equal to timm's evaluation transform: see `MAX_WHOLE_PX`."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bento_service.domain import InputRecipe

MAX_WHOLE_PX = 2_000_000
"""Of an image of more pixels only what the crop shows is resized, in 0.6 of the time; up to here the result is timm's.

It then differs from timm's by 1 or 2 levels in up to 0.5 % of values (300 images of random size, five recipes), because
Pillow takes its box in float32.
"""
MAX_CUT_ASPECT = 1.5
"""Images taller than this many times their width are resized whole.

Pillow resizes columns before rows where that is cheaper, which cutting a tall image may change: the rounding between
the two then differs in 20 % of values, by up to 4 levels.
"""
MAX_RESIZED_PX = 16_777_216
"""Where the whole would become larger than this, only the crop is made, whatever the aspect.

A photograph never gets there, a 1 x 65535 JPEG would ask for 12 GB.
"""

_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where the crop lies in the resized image. `left_px` or `top_px` is negative where the crop reaches beyond it."""

    resized_width_px: int
    resized_height_px: int
    left_px: int
    top_px: int


def plan_geometry(width_px: int, height_px: int, recipe: InputRecipe) -> Geometry:
    """Work out timm's resize and centre crop (timm/data/transforms_factory.py) for an image of this size.

    A square target follows torchvision's Resize, another timm's ResizeKeepRatio: they round differently.
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
    )


def _centre(resized_px: int, crop_px: int) -> int:
    """Place a crop as torchvision's center_crop does: the smaller half of a padding first, else rounded to even."""
    if crop_px > resized_px:
        return -((crop_px - resized_px) // 2)
    return round((resized_px - crop_px) / 2)


def resize_and_crop(image: Image.Image, geometry: Geometry, recipe: InputRecipe) -> NDArray[np.uint8]:
    """Resize an image and cut out its centre; what the crop takes from beyond the image is black.

    Args:
        image: Mode `RGB`, `RGBX` or `L`; its size may differ from the one that `geometry` was planned for, where it was
            scaled while decoding.
        geometry: From `plan_geometry`.
        recipe: The model's input recipe.

    Returns:
        RGB, 0-255, shape (recipe.height_px, recipe.width_px, 3), C-contiguous and writable.
    """
    size = (geometry.resized_width_px, geometry.resized_height_px)
    left, top = geometry.left_px, geometry.top_px
    resampling = _RESAMPLING[recipe.interpolation]
    if _is_resized_whole(image, geometry):
        resized = image.resize(size, resampling)
    else:
        # Clipped to the resized image: Pillow refuses a box beyond its source.
        first = (max(left, 0), max(top, 0))
        last = (min(left + recipe.width_px, size[0]), min(top + recipe.height_px, size[1]))
        scale_x, scale_y = image.width / size[0], image.height / size[1]
        box = (
            first[0] * scale_x,
            first[1] * scale_y,
            min(last[0] * scale_x, image.width),
            min(last[1] * scale_y, image.height),
        )
        resized = image.resize((last[0] - first[0], last[1] - first[1]), resampling, box)
        left, top = left - first[0], top - first[1]
    crop = resized.crop((left, top, left + recipe.width_px, top + recipe.height_px))
    return np.array(crop if crop.mode == "RGB" else crop.convert("RGB"))


def _is_resized_whole(image: Image.Image, geometry: Geometry) -> bool:
    if geometry.resized_width_px * geometry.resized_height_px > MAX_RESIZED_PX:
        return False
    return image.width * image.height <= MAX_WHOLE_PX or image.height > MAX_CUT_ASPECT * image.width
