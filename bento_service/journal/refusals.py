"""Which refusals leave a receipt of their own: a client refused a thousand times a second must not fill a disk."""

from datetime import datetime

from bento_service.domain.requests import Receipt

MAX_REFUSALS_PER_S = 10
"""Enough to see who is refused and why; the rollups count every one."""


class RefusalSampler:
    """Picks the receipts that are stored singly: all but refusals beyond so many a second. Not safe to share.

    A refusal is a request whose image was never read, so that it has no digest: for load, for an unknown model, for a
    parameter, for its size, or since its client hung up while it sent. It costs the server next to nothing, so that
    nothing but the client bounds its rate. What was read is stored, whatever became of it.
    """

    def __init__(self, max_per_s: int = MAX_REFUSALS_PER_S) -> None:
        self._max_per_s = max_per_s
        self._second: datetime | None = None
        self._taken = 0

    def takes(self, receipt: Receipt, *, at: datetime) -> bool:
        """Tell whether a receipt that is recorded at `at` is stored singly, and count it."""
        if receipt.digest:
            return True
        second = at.replace(microsecond=0)
        if second != self._second:
            self._second, self._taken = second, 0
        self._taken += 1
        return self._taken <= self._max_per_s
