"""timm's own evaluation transform, up to normalisation."""

import importlib.util

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from timm.data.transforms_factory import create_transform

from bento_service.domain.models import InputRecipe
from bento_service.images.geometry import plan_geometry
from bento_service.images.resize import MAX_ENLARGED_PX

CROP_MODES = {"crop": "center", "squash": "squash", "letterbox": "border"}
HAS_SIMD = importlib.util.find_spec("cykooz_resizer") is not None


def transform_with_timm(image: Image.Image, recipe: InputRecipe) -> NDArray[np.uint8]:
    """Resize and crop as timm does for evaluation; uint8, (height, width, channels)."""
    transform = create_transform(
        input_size=(3, recipe.height_px, recipe.width_px),
        crop_pct=recipe.crop_fraction if recipe.fit == "crop" else 1.0,
        crop_mode=CROP_MODES[recipe.fit],
        mean=(recipe.pad_value / 255,) * recipe.channel_count,  # what timm fills with
        interpolation=recipe.interpolation,
        normalize=False,
    )
    pixels_chw = transform(image.convert("L" if recipe.channels == "grey" else "RGB"))
    pixels_hwc: NDArray[np.uint8] = pixels_chw.permute(1, 2, 0).numpy()
    return pixels_hwc


def assert_as_timm(pixels_hwc: NDArray[np.uint8], image: Image.Image, recipe: InputRecipe) -> None:
    """Hold pixels to the bound that the intake states: a level or two in few values, none where Pillow resizes.

    An image of a few pixels ends halfway between two levels more often than others.
    """
    expected = transform_with_timm(image, recipe)
    difference = np.abs(pixels_hwc.astype(int) - expected)
    assert pixels_hwc.shape == expected.shape
    across, down = plan_geometry(*image.size, recipe)
    is_by_pillow = not HAS_SIMD or recipe.interpolation in {"nearest", "box"}
    if is_by_pillow and across.resized_px * down.resized_px <= MAX_ENLARGED_PX:
        assert difference.max() == 0
    assert difference.max() <= 2
    assert (difference > 0).mean() < (0.05 if min(image.size) > 64 else 0.4)
