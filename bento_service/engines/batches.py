"""The check that every engine makes of its input."""

import numpy as np
from numpy.typing import NDArray

from bento_service.domain import InputRecipe
from bento_service.errors import InferenceFailedError


def check_batch(batch_nhwc: NDArray[np.uint8], recipe: InputRecipe) -> None:
    """Pass if a batch is what `Engine.infer` takes.

    Raises:
        InferenceFailedError: Its type or shape is another.
    """
    expected = (recipe.height_px, recipe.width_px, 3)
    if batch_nhwc.dtype != np.uint8 or batch_nhwc.ndim != 4 or batch_nhwc.shape[1:] != expected or not len(batch_nhwc):
        raise InferenceFailedError(
            f"A batch of type {batch_nhwc.dtype} and shape {batch_nhwc.shape} was given; "
            f"the model takes uint8 of shape (n >= 1, {', '.join(map(str, expected))})."
        )
