"""Every call of the engine to CUDA: streams, graphs and memory. The rest of the engine is tested without a GPU."""

import gc
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

Step = Callable[[], "torch.Tensor"]
"""A forward pass over fixed buffers; returns its output."""


class CudaRuntime:
    """The current CUDA GPU. `device` is its name for PyTorch."""

    device = "cuda"

    def open_stream(self) -> "CudaStream":
        """Return a new stream, which waits for all work that the calling thread has launched."""
        return CudaStream()

    def host_buffer(self, shape: tuple[int, ...], dtype: "torch.dtype") -> "torch.Tensor":
        """Return zeroed page-locked host memory, which CUDA copies asynchronously."""
        import torch

        return torch.zeros(shape, dtype=dtype, pin_memory=True)

    def release(self) -> None:
        """Free unused GPU memory."""
        import torch

        gc.collect()  # a failed attempt's tensors may sit in reference cycles of its traceback
        torch.cuda.empty_cache()


class CudaStream:
    """The CUDA stream of one lane, with the memory pool of its graphs. Not thread-safe."""

    def __init__(self) -> None:
        import torch

        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # as in PyTorch
        # PyTorch's streams do not wait for the default one, on which the weights were converted.
        self._stream.wait_stream(torch.cuda.current_stream())
        self._pool = torch.cuda.graph_pool_handle()
        # A spinning wait would take a CPU core from decoding while the GPU computes.
        self._done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # as in PyTorch

    def active(self) -> AbstractContextManager[object]:
        """Return a context in which work is launched on this stream."""
        import torch

        return torch.cuda.stream(self._stream)

    def capture(self, step: Step) -> Step:
        """Warm a step up and record it as a CUDA graph; the result replays it, always into the same output.

        All graphs of a stream share memory: an output is valid until the stream's next run.

        Raises:
            RuntimeError: The step cannot be recorded, or the GPU has too little memory, see `is_out_of_memory`.
        """
        import torch

        # Libraries choose algorithms and load kernels in the first runs, which must not be recorded.
        with self.active():
            step()
            step()
        graph = torch.cuda.CUDAGraph()
        # Threads of other models may use the GPU meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            output = step()

        def replay() -> torch.Tensor:
            graph.replay()
            return output

        return replay

    def finish(self) -> None:
        """Block until all launched work is done, without spinning and without the GIL."""
        self._done.record(self._stream)
        self._done.synchronize()


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error, its cause or its context is PyTorch's out-of-memory error.

    Ending a recording that ran out of memory may raise another error.
    """
    import torch

    current: BaseException | None = error
    while current is not None:
        if isinstance(current, torch.OutOfMemoryError):
            return True
        current = current.__cause__ or current.__context__
    return False
