"""The interface of every engine, and how they report failures."""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.models import Parity
from bento_service.domain.runner import Device, EngineMode
from bento_service.errors import InferenceFailedError, OutOfMemoryError

_OUT_OF_MEMORY = ("bad_alloc", "Failed to allocate memory", "out of memory", "ALLOC_FAILED")
"""Messages of the C++ library, ONNX Runtime's arena, CUDA and its libraries for too little memory."""


def describe_load_error(error: Exception, path: Path) -> str:
    """Return a library's message in one line, without the folder of the file that it was to load: clients read it."""
    return " ".join(str(error).replace(str(path), path.name).split()).rstrip(".")


class Engine(Protocol):
    """One model, loaded on one device.

    `infer` may be called from as many threads at once as the engine was given lanes; it releases the GIL while it
    computes. Normalisation and softmax are part of the graph.
    """

    name: str
    """`openvino`, `onnxruntime` or `torch`."""
    library: str
    """The library and its version, for example `openvino 2026.4.1`: another version may round differently."""
    device: Device
    """The hardware it runs on."""
    modes: frozenset[EngineMode]
    """The modes that differ on this engine, always with `THROUGHPUT`, which also stands in for missing ones."""
    parity: Parity | None
    """The parity measured while loading; None where the model card's figures apply."""
    bucket_sizes: tuple[int, ...]
    """Batch sizes that run without padding, ascending from 1. Others cost as much as the next larger one.

    Empty where no size is padded.
    """
    has_features: bool
    """Whether the loaded graph returns its last feature map, see `domain.graph`; else `infer_with_features` fails."""

    @property
    def precision(self) -> str:
        """The arithmetic it computes in, for example `f32`."""

    def infer(self, batch_nhwc: NDArray[np.uint8], mode: EngineMode = EngineMode.THROUGHPUT) -> NDArray[np.float32]:
        """Classify a batch.

        Args:
            batch_nhwc: RGB or grey, 0-255, shape (n, *recipe.shape_hwc), n >= 1, C-contiguous; n is at most the
                largest of `bucket_sizes`, if there are any.
            mode: `LATENCY` for a lone image; calls in this mode run one after the other.

        Returns:
            Softmax probabilities, shape (n, classes). The caller may keep the array.

        Raises:
            OutOfMemoryError: The device has too little memory for this batch; a smaller one may pass.
            InferenceFailedError: Anything else that the library raised, as its cause.
        """

    def infer_with_features(
        self, batch_nhwc: NDArray[np.uint8], mode: EngineMode = EngineMode.THROUGHPUT
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Classify a batch as `infer` does, to the same bits, and return its last feature map too.

        Returns:
            The probabilities, and the features, shape (n, channels, rows, columns). The caller may keep both.

        Raises:
            OutOfMemoryError: As `infer`.
            InferenceFailedError: As `infer`; or the engine has no features.
        """

    def close(self) -> None:
        """Release the device's memory. The engine must not be used afterwards."""


def explain_no_features() -> InferenceFailedError:
    """Make the error of `infer_with_features` where the graph returns no features."""
    return InferenceFailedError("The graph of this model returns no feature map.")


def explain_failure(error: Exception, *, library: str, images: int) -> InferenceFailedError | OutOfMemoryError:
    """Translate a library's exception from a batch of so many images."""
    if isinstance(error, MemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY):
        return OutOfMemoryError(f"There is too little memory for a batch of {images} images.")
    return InferenceFailedError(f"{library} failed on a batch of {images} images: {error}")
