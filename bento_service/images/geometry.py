"""Where timm's evaluation transform resizes to, and which part of that it keeps."""

import math
from dataclasses import dataclass

from bento_service.domain.models import InputRecipe


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where the crop lies in the resized image. `left_px` or `top_px` is negative where the crop reaches beyond it."""

    resized_width_px: int
    resized_height_px: int
    left_px: int
    top_px: int
    crop_width_px: int
    crop_height_px: int


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
        crop_width_px=recipe.width_px,
        crop_height_px=recipe.height_px,
    )


def _centre(resized_px: int, crop_px: int) -> int:
    """Place a crop as torchvision's center_crop does: the smaller half of a padding first, else rounded to even."""
    if crop_px > resized_px:
        return -((crop_px - resized_px) // 2)
    return round((resized_px - crop_px) / 2)
