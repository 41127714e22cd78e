"""timm's own evaluation transform, up to the point where it leaves pixels for tensors."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from timm.data import create_transform
from torchvision.transforms import Compose, Normalize

from bento_service.domain import InputRecipe


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
