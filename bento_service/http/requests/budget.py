"""How many bytes of request bodies a worker holds in memory at once."""

from types import TracebackType
from typing import Self

from bento_service.errors import OverloadedError

_RETRY_AFTER_S = 1.0
"""Bodies come and go with their requests, most of them within the latency target: a second frees some."""


class ByteBudget:
    """Bounds the bytes of all requests of a worker together. Used on one event loop."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held_bytes = 0

    @property
    def held_bytes(self) -> int:
        """Bytes held now."""
        return self._held_bytes

    def lease(self) -> "ByteLease":
        """Return an empty lease for one request; leaving its context gives everything back."""
        return ByteLease(self)

    def take(self, count: int) -> None:
        """Hold `count` more bytes.

        Raises:
            OverloadedError: They would exceed the budget; nothing was taken.
        """
        if self._held_bytes + count > self._max_bytes:
            raise OverloadedError(
                f"{self._held_bytes} bytes of other uploads are in memory, of {self._max_bytes} allowed. "
                "Try again after the time in Retry-After.",
                retry_after_s=_RETRY_AFTER_S,
                reason="memory",
            )
        self._held_bytes += count

    def give_back(self, count: int) -> None:
        """Let go of `count` bytes."""
        self._held_bytes -= count


class ByteLease:
    """What one request holds of the budget; a context manager that gives it back."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._held_bytes = 0

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give back what is held."""
        self.give_back(self._held_bytes)

    def take(self, count: int) -> None:
        """Like `ByteBudget.take`, on this request's account."""
        self._budget.take(count)
        self._held_bytes += count

    def give_back(self, count: int) -> None:
        """Like `ByteBudget.give_back`, on this request's account."""
        self._budget.give_back(count)
        self._held_bytes -= count
