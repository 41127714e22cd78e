"""What every engine says of its input, and of its library's failures."""

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.models import InputRecipe
from bento_service.errors import InferenceFailedError, OutOfMemoryError

_OUT_OF_MEMORY = ("bad_alloc", "Failed to allocate memory", "out of memory", "ALLOC_FAILED")
"""By what the C++ library, ONNX Runtime's arena, CUDA and its libraries say that memory is short."""


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


def explain_failure(error: Exception, *, library: str, images: int) -> InferenceFailedError | OutOfMemoryError:
    """Say in the domain's words what a library raised while it ran a batch of so many images."""
    if isinstance(error, MemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY):
        return OutOfMemoryError(f"There is too little memory for a batch of {images} images.")
    return InferenceFailedError(f"{library} failed on a batch of {images} images: {error}")
