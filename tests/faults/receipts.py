"""An observer that keeps every receipt, and lets threads wait for them."""

import threading
from collections import Counter

from bento_service.domain.requests import Receipt
from tests.fakes.engine import PATIENCE_S


class ReceiptBook:
    """Keeps what a classifier tells of. Thread-safe."""

    def __init__(self) -> None:
        self._receipts: list[Receipt] = []
        self._has_more = threading.Condition()

    @property
    def receipts(self) -> tuple[Receipt, ...]:
        with self._has_more:
            return tuple(self._receipts)

    def observe_receipt(self, receipt: Receipt) -> None:
        with self._has_more:
            self._receipts.append(receipt)
            self._has_more.notify_all()

    def observe_rejection(self, reason: str) -> None:
        """The receipt says it."""

    def outcomes(self) -> Counter[str]:
        return Counter(receipt.outcome for receipt in self.receipts)

    def wait_for(self, count: int, *, outcome: str | None = None) -> None:
        """Return as soon as there are so many receipts, with this outcome if one is named."""
        with self._has_more:
            if not self._has_more.wait_for(lambda: self._count(outcome) >= count, PATIENCE_S):
                raise TimeoutError(f"there are {self._count(outcome)} of {count} receipts after {PATIENCE_S:g} s")

    def _count(self, outcome: str | None) -> int:
        return sum(outcome in (None, receipt.outcome) for receipt in self._receipts)
