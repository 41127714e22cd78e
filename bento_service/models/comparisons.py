"""Comparisons of shadows that wait to be written: requests hand them over and never wait for a database."""

from collections import deque
from collections.abc import Sequence
from itertools import islice

from bento_service.domain.registry import Comparison

_CAPACITY = 10_000
_MOST_AT_ONCE = 1_000


class WaitingComparisons:
    """A bounded buffer; the oldest give way to new ones. Used on one event loop."""

    def __init__(self) -> None:
        self._waiting = deque[Comparison](maxlen=_CAPACITY)

    def add(self, comparison: Comparison) -> None:
        """Keep one comparison."""
        self._waiting.append(comparison)

    def peek(self) -> Sequence[Comparison]:
        """Return the oldest ones, as many as one transaction takes; they stay until `drop`."""
        return tuple(islice(self._waiting, _MOST_AT_ONCE))

    def drop(self, written: Sequence[Comparison]) -> None:
        """Forget those that were written."""
        for comparison in written:
            if self._waiting and self._waiting[0] is comparison:
                self._waiting.popleft()
