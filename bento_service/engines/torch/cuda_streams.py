"""What the engine asks of CUDA, in one thin place: streams, graphs and memory. Everything else runs without a GPU."""

import gc
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

Step = Callable[[], "torch.Tensor"]
"""A forward pass over buffers that stay where they are; returns its output."""


class Stream(Protocol):
    """Work of one lane, in order. Used by one thread at a time."""

    def active(self) -> AbstractContextManager[object]:
        """Send what is launched within to this stream."""

    def capture(self, step: Step) -> Step:
        """Warm a step up and record it; the result runs it again at once, always into the same output.

        All that one stream recorded share their memory: the output holds until the stream's next run.

        Raises:
            torch.OutOfMemoryError: The GPU has too little memory for it; it may be the cause or the context of another
                `RuntimeError` instead, see `is_out_of_memory`.
            RuntimeError: The step does something that cannot be recorded.
        """

    def finish(self) -> None:
        """Block until all that was launched is done, without spinning and without the GIL."""


class Runtime(Protocol):
    """A device that runs streams of work."""

    @property
    def device(self) -> str:
        """Its name for PyTorch."""

    def open_stream(self) -> Stream:
        """Return a new stream, which runs after all that the calling thread launched."""

    def host_buffer(self, shape: tuple[int, ...], dtype: "torch.dtype") -> "torch.Tensor":
        """Return memory of the host that the device copies from and to by itself."""

    def release(self) -> None:
        """Give unused memory back to the device."""


class CudaRuntime:
    """The current CUDA GPU."""

    device = "cuda"

    def open_stream(self) -> "CudaStream":
        """Return a new stream of it."""
        return CudaStream()

    def host_buffer(self, shape: tuple[int, ...], dtype: "torch.dtype") -> "torch.Tensor":
        """Return page-locked memory: what is not page-locked, CUDA copies while the host waits."""
        import torch

        return torch.zeros(shape, dtype=dtype, pin_memory=True)

    def release(self) -> None:
        """Give unused memory back to the GPU."""
        import torch

        gc.collect()  # a failed attempt's tensors may sit in reference cycles of its traceback
        torch.cuda.empty_cache()


class CudaStream:
    """A CUDA stream, with the memory of the graphs that it recorded."""

    def __init__(self) -> None:
        import torch

        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # as in PyTorch
        # Streams of PyTorch do not wait for the default one, on which the weights were converted.
        self._stream.wait_stream(torch.cuda.current_stream())
        self._pool = torch.cuda.graph_pool_handle()
        # Blocking: a lane that spins would take a CPU core from decoding for as long as the GPU computes.
        self._done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # as in PyTorch

    def active(self) -> AbstractContextManager[object]:
        """Send what is launched within to this stream."""
        import torch

        return torch.cuda.stream(self._stream)

    def capture(self, step: Step) -> Step:
        """Record a step as a CUDA graph; see `Stream.capture`."""
        import torch

        # Libraries choose their algorithms and load their kernels on a first run, which a recording must not hold.
        with self.active():
            step()
            step()
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the GPU meanwhile, say those of a model that is loaded already.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            output = step()

        def replay() -> torch.Tensor:
            graph.replay()
            return output

        return replay

    def finish(self) -> None:
        """Block until all that was launched is done."""
        self._done.record(self._stream)
        self._done.synchronize()


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error, or one that it came after, is PyTorch's for too little memory.

    Leaving a recording that ran out of memory may raise an error of its own over the first.
    """
    import torch

    current: BaseException | None = error
    while current is not None:
        if isinstance(current, torch.OutOfMemoryError):
            return True
        current = current.__cause__ or current.__context__
    return False
