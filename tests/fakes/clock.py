"""Fake clocks, and an event loop that uses one."""

import asyncio
from itertools import count


class FakeClock:
    """Seconds, monotonic; stands still between calls of `advance`."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds

    def advance_ms(self, milliseconds: float) -> None:
        """Let time pass."""
        self.now_s += milliseconds / 1000


class TickingClock:
    """Seconds, monotonic; each reading is a millisecond later, so that no two are equal."""

    def __init__(self) -> None:
        self._ticks = count()

    def __call__(self) -> float:
        return next(self._ticks) / 1000


class FakeTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose timers use a fake clock, which a test advances."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()

    def time(self) -> float:
        return self.clock()
