"""A GPU that is the CPU: what the engine does with streams, recordings and memory can be seen without one."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch

Step = Callable[[], torch.Tensor]


@dataclass(eq=False)
class FakeStream:
    """Runs at once, counts what it was asked for, and refuses what its runtime has no memory for or cannot record."""

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
        # As a pool of recordings does: whoever records a small batch first pays for the large one on top.
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
class FakeRuntime:
    """Has memory for recordings of so many images."""

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
