"""Streams, recordings and memory of a GPU, simulated on the CPU."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch

from bento_service.engines.torch.cuda_streams import CudaRuntime, CudaStream, Step


@dataclass(eq=False)
class FakeStream(CudaStream):
    """Runs each step immediately and counts calls; raises the errors that its runtime is set to."""

    runtime: "FakeRuntime"
    replays: list[int] = field(default_factory=list)
    finished: int = 0

    def active(self) -> AbstractContextManager[object]:
        return nullcontext()

    def capture(self, step: Step) -> Step:
        output = step().clone()
        size = len(output)
        if self.runtime.unrecordable is not None:
            raise self.runtime.unrecordable
        if size > self.runtime.memory_images:
            raise torch.OutOfMemoryError(f"no room for {size}")
        # In a real memory pool, a small batch recorded first takes memory beside the large one's.
        if self.runtime.recorded and self.runtime.recorded[-1][0] is self:
            assert size < self.runtime.recorded[-1][1], "the largest has to be recorded first"
        self.runtime.recorded.append((self, size))

        def replay() -> torch.Tensor:
            self.replays.append(size)
            output.copy_(step())
            return output

        return replay

    def finish(self) -> None:
        self.finished += 1


@dataclass
class FakeRuntime(CudaRuntime):
    """A GPU with memory for recordings of `memory_images` images."""

    memory_images: int = 1_000_000
    unrecordable: Exception | None = None
    streams: list[FakeStream] = field(default_factory=list)
    recorded: list[tuple[FakeStream, int]] = field(default_factory=list)
    released: int = 0
    device = "cpu"

    def open_stream(self) -> FakeStream:
        stream = FakeStream(self)
        self.streams.append(stream)
        return stream

    def host_buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return torch.zeros(shape, dtype=dtype)

    def release(self) -> None:
        self.released += 1
