"""GPU lanes: each has a CUDA stream, fixed buffers, and a CUDA graph of the forward pass for each batch size."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.models import InputRecipe
from bento_service.engines.base import explain_no_features
from bento_service.engines.torch.cuda_model import Forward
from bento_service.engines.torch.cuda_streams import CudaRuntime, CudaStream, Step, is_out_of_memory
from bento_service.engines.torch.features import ForwardWithFeatures

logger = logging.getLogger(__name__)


def list_buckets(max_batch: int) -> tuple[int, ...]:
    """Return the powers of two below `max_batch`, and `max_batch`, so that less than half of a bucket is padding."""
    return (*(2**power for power in range((max_batch - 1).bit_length())), max_batch)


@dataclass(frozen=True, slots=True)
class LaneModel:
    """A forward pass on the GPU, its input recipe and its number of classes; and one that returns features too."""

    forward: Forward
    recipe: InputRecipe
    classes: int
    forward_with_features: ForwardWithFeatures | None = None


class CudaLane:
    """Runs one batch at a time. Several lanes run at once, so that one copies while another computes.

    A recorded lane pads a batch to the next bucket with old pixels in the buffer, whose results are dropped: images of
    a batch do not affect each other. A lane without recordings launches the forward pass for each batch. Making one
    raises `torch.OutOfMemoryError` where the GPU has no room for its buffers. Not thread-safe.
    """

    def __init__(self, model: LaneModel, *, max_batch: int, stream: CudaStream, runtime: CudaRuntime) -> None:
        import torch

        shape = (max_batch, *model.recipe.shape_hwc)
        self._forward = model.forward
        self._forward_with_features = model.forward_with_features
        self._stream = stream
        self._host_pixels = runtime.host_buffer(shape, torch.uint8)
        self._host_scores = runtime.host_buffer((max_batch, model.classes), torch.float32)
        with stream.active():
            self._pixels = torch.zeros(shape, dtype=torch.uint8, device=runtime.device)
        self._recorded: Mapping[int, Step] = {}

    @property
    def max_batch(self) -> int:
        """Most images in a batch."""
        return len(self._pixels)

    @property
    def bucket_sizes(self) -> tuple[int, ...]:
        """The recorded batch sizes, ascending; empty without recordings."""
        return tuple(sorted(self._recorded))

    def record(self, sizes: tuple[int, ...]) -> None:
        """Record the forward pass for each batch size, of which the largest is `max_batch`.

        In descending order, so that smaller sizes reuse the memory of the largest.

        Raises:
            RuntimeError: As `CudaStream.capture`.
        """
        import torch

        with torch.inference_mode():
            self._recorded = {size: self._stream.capture(self._step(size)) for size in sorted(sizes, reverse=True)}

    def run(self, batch_nhwc: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Classify a batch of at most `max_batch` images; the caller may keep the array.

        Raises:
            RuntimeError: What CUDA reports; `torch.OutOfMemoryError` is one.
        """
        count = len(batch_nhwc)
        with self._running(batch_nhwc):
            scores = self._step_for(count)()
            self._host_scores[:count].copy_(scores[:count], non_blocking=True)
        return self._host_scores[:count].numpy().copy()

    def run_with_features(self, batch_nhwc: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Classify a batch and return its features; raises as `run`, and InferenceFailedError where there are none.

        Never recorded: maps of all batch sizes would keep memory, and few ask for them.
        """
        if self._forward_with_features is None:
            raise explain_no_features()
        with self._running(batch_nhwc):
            scores, features = self._forward_with_features(self._pixels[: len(batch_nhwc)])
            scores, features = scores.cpu(), features.cpu()
        return scores.numpy(), np.ascontiguousarray(features.numpy())

    @contextmanager
    def _running(self, batch_nhwc: NDArray[np.uint8]) -> Iterator[None]:
        """Let a block launch work on the images of a batch, which are in the buffer, and wait for the end of it."""
        import torch

        count = len(batch_nhwc)
        np.copyto(self._host_pixels[:count].numpy(), batch_nhwc)
        with torch.inference_mode(), self._stream.active():
            try:
                self._pixels[:count].copy_(self._host_pixels[:count], non_blocking=True)
                yield
            finally:
                # After a failure too, or the next batch could overwrite one that is still being copied.
                self._stream.finish()

    def _step_for(self, count: int) -> Step:
        if not self._recorded:
            return self._step(count)
        return self._recorded[min(size for size in self._recorded if size >= count)]

    def _step(self, size: int) -> Step:
        images = self._pixels[:size]
        return lambda: self._forward(images)


def open_lanes(model: LaneModel, *, max_batch: int, lanes: int, runtime: CudaRuntime) -> tuple[CudaLane, ...]:
    """Open `lanes` >= 1 lanes, recorded for batch sizes up to `max_batch` as far as the GPU has memory.

    The lanes of a model that cannot be recorded launch it for each batch.

    Raises:
        torch.OutOfMemoryError: Not even one image fits.
        RuntimeError: The model fails on this GPU.
    """
    is_recordable = True
    sizes = list_buckets(max_batch)
    while True:
        try:
            return _open(model, sizes, lanes, runtime, is_recorded=is_recordable)
        except RuntimeError as error:
            if is_out_of_memory(error):
                if len(sizes) == 1:
                    raise
                logger.warning("The GPU has too little memory for batches of %d; trying %d", sizes[-1], sizes[-2])
                sizes = sizes[:-1]
            elif is_recordable:
                logger.warning("The model cannot be recorded as CUDA graphs and is launched anew each time: %s", error)
                is_recordable = False
            else:
                raise
        # Outside the handler, since the error's traceback keeps the failed attempt's tensors alive.
        runtime.release()


def _open(
    model: LaneModel, sizes: tuple[int, ...], lanes: int, runtime: CudaRuntime, *, is_recorded: bool
) -> tuple[CudaLane, ...]:
    opened = []
    for _ in range(lanes):
        lane = CudaLane(model, max_batch=sizes[-1], stream=runtime.open_stream(), runtime=runtime)
        if is_recorded:
            lane.record(sizes)
        opened.append(lane)
    return tuple(opened)
