"""Lanes of a GPU: each has a stream, buffers that stay where they are, and the forward pass recorded by batch size."""

import logging
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.models import InputRecipe
from bento_service.engines.torch.cuda_model import Forward
from bento_service.engines.torch.cuda_streams import Runtime, Step, Stream, is_out_of_memory

logger = logging.getLogger(__name__)


def list_buckets(max_batch: int) -> tuple[int, ...]:
    """Return the powers of two up to a largest batch, and that batch: at most half of a bucket is ever padding.

    Raises:
        ValueError: `max_batch` is below 1.
    """
    if max_batch < 1:
        raise ValueError(f"max_batch is {max_batch}; it has to be at least 1.")
    return (*(2**power for power in range((max_batch - 1).bit_length())), max_batch)


def choose_bucket(count: int, buckets: Sequence[int]) -> int:
    """Return the smallest bucket that holds so many images.

    Args:
        count: Images, at least 1 and at most the last bucket.
        buckets: Ascending.

    Raises:
        ValueError: They do not fit into the last one.
    """
    index = bisect_left(buckets, count)
    if index == len(buckets):
        raise ValueError(f"{count} images were given; the largest bucket holds {buckets[-1]}.")
    return buckets[index]


@dataclass(frozen=True, slots=True)
class LaneModel:
    """A forward pass on the GPU, the size of its images and the number of its classes."""

    forward: Forward
    recipe: InputRecipe
    classes: int


class CudaLane:
    """Runs one batch at a time; several lanes run at once, so that one copies while another computes.

    A recorded lane takes batches up to its largest bucket and fills them up to the next one: what lies in the buffer
    from before is computed along and thrown away, as no image of a batch bears on another. A lane that is not recorded
    launches the forward pass anew for every batch. One thread at a time.
    """

    def __init__(self, model: LaneModel, *, max_batch: int, stream: Stream, runtime: Runtime) -> None:
        """Allocate the buffers, on the host and on the GPU.

        Raises:
            torch.OutOfMemoryError: The GPU has too little memory.
        """
        import torch

        shape = (max_batch, model.recipe.height_px, model.recipe.width_px, 3)
        self._forward = model.forward
        self._stream = stream
        self._host_pixels = runtime.host_buffer(shape, torch.uint8)
        self._host_scores = runtime.host_buffer((max_batch, model.classes), torch.float32)
        with stream.active():
            self._pixels = torch.zeros(shape, dtype=torch.uint8, device=runtime.device)
        self._recorded: Mapping[int, Step] = {}

    @property
    def max_batch(self) -> int:
        """Images in a batch, at most."""
        return len(self._pixels)

    @property
    def bucket_sizes(self) -> tuple[int, ...]:
        """Batch sizes that were recorded, ascending; none if nothing was."""
        return tuple(sorted(self._recorded))

    def record(self, sizes: tuple[int, ...]) -> None:
        """Record the forward pass for each batch size; the largest is `max_batch`.

        The largest first: what the others need fits into the memory that it has taken.

        Raises:
            RuntimeError: As `Stream.capture`.
        """
        import torch

        with torch.inference_mode():
            self._recorded = {size: self._stream.capture(self._step(size)) for size in sorted(sizes, reverse=True)}

    def run(self, batch_nhwc: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Classify a batch of at most `max_batch` images; the caller may keep the array.

        Raises:
            torch.OutOfMemoryError: Of a lane that is not recorded: the GPU has too little memory for this batch.
            RuntimeError: Anything else that CUDA reports.
        """
        import torch

        count = len(batch_nhwc)
        np.copyto(self._host_pixels[:count].numpy(), batch_nhwc)
        with torch.inference_mode(), self._stream.active():
            try:
                self._pixels[:count].copy_(self._host_pixels[:count], non_blocking=True)
                scores = self._step_for(count)()
                self._host_scores[:count].copy_(scores[:count], non_blocking=True)
            finally:
                # After a failure too: the next batch must not be written over one that is still being copied.
                self._stream.finish()
        return self._host_scores[:count].numpy().copy()

    def _step_for(self, count: int) -> Step:
        if not self._recorded:
            return self._step(count)
        return self._recorded[choose_bucket(count, self.bucket_sizes)]

    def _step(self, size: int) -> Step:
        images = self._pixels[:size]
        return lambda: self._forward(images)


def open_lanes(model: LaneModel, *, max_batch: int, lanes: int, runtime: Runtime) -> tuple[CudaLane, ...]:
    """Open lanes with as many recorded batch sizes as the GPU has memory for.

    A model that cannot be recorded gets lanes that launch it anew for every batch.

    Args:
        model: What they run.
        max_batch: Largest batch, if it fits.
        lanes: How many, at least 1.
        runtime: The GPU.

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
        # Out of the handler, where the error's traceback no longer holds the tensors of the attempt.
        runtime.release()


def _open(
    model: LaneModel, sizes: tuple[int, ...], lanes: int, runtime: Runtime, *, is_recorded: bool
) -> tuple[CudaLane, ...]:
    opened = []
    for _ in range(lanes):
        lane = CudaLane(model, max_batch=sizes[-1], stream=runtime.open_stream(), runtime=runtime)
        if is_recorded:
            lane.record(sizes)
        opened.append(lane)
    return tuple(opened)
