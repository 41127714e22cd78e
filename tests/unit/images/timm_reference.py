"""timm's own evaluation transform, up to the point where it leaves pixels for tensors."""

import importlib.util

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from timm.data.transforms_factory import create_transform
from torchvision.transforms import Compose, Normalize

from bento_service.domain.models import InputRecipe
from bento_service.images.geometry import plan_geometry
from bento_service.images.resize import MAX_ENLARGED_PX

HAS_SIMD = importlib.util.find_spec("cykooz_resizer") is not None


def transform_with_timm(image: Image.Image, recipe: InputRecipe) -> NDArray[np.uint8]:
    """Resize and crop as timm does for evaluation; uint8, (height, width, 3)."""
    transform = create_transform(
        input_size=(3, recipe.height_px, recipe.width_px),
        is_training=False,
        crop_pct=recipe.crop_fraction,
        interpolation=recipe.interpolation,
    )
    steps = transform.transforms
    assert isinstance(steps[-1], Normalize)
    return np.array(Compose(steps[:-2])(image.convert("RGB")))


def assert_as_timm(pixels_hwc: NDArray[np.uint8], image: Image.Image, recipe: InputRecipe) -> None:
    """Hold pixels to the bound that the intake states: a level or two in few values, none without the SIMD resizer.

    In what is about twice as tall as wide the two directions may follow each other in the other order than Pillow's:
    more values differ then. An image of a few pixels ends halfway between two levels more often than others.
    """
    expected = transform_with_timm(image, recipe)
    difference = np.abs(pixels_hwc.astype(int) - expected)
    assert pixels_hwc.shape == expected.shape
    if image.height > 1.9 * image.width:
        assert difference.max() <= 8
        assert difference.mean() < 0.35
        return
    across, down = plan_geometry(*image.size, recipe)
    if not HAS_SIMD and across.resized_px * down.resized_px <= MAX_ENLARGED_PX:
        assert difference.max() == 0
    assert difference.max() <= 2
    assert (difference > 0).mean() < (0.05 if min(image.size) > 64 else 0.4)
