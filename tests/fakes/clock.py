"""A clock that moves when it is told to."""


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
