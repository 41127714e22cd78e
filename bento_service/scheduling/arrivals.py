"""How fast images come in."""

import math

_MEMORY_S = 0.25
"""Time after which an arrival counts for 1/e: long beside a batch, short beside a change of load."""


class ArrivalRate:
    """Images a second, the recent ones weighing more (an exponentially weighted count). Used under the queue's lock."""

    def __init__(self) -> None:
        self._count = 0.0
        self._last_s = 0.0

    def note(self, now_s: float) -> None:
        """Take note of one arrival."""
        self._count = self._count * math.exp(min(0.0, self._last_s - now_s) / _MEMORY_S) + 1
        self._last_s = now_s

    def per_s(self, now_s: float) -> float:
        """Return the rate as of now."""
        return self._count * math.exp(min(0.0, self._last_s - now_s) / _MEMORY_S) / _MEMORY_S
