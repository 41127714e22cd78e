"""A journal store in memory whose failures a test controls."""

import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from bento_service.domain.history import History
from bento_service.domain.requests import Receipt
from bento_service.errors import JournalUnavailableError


class FakeStore:
    """Keeps receipts in a list.

    While `is_down`, every call raises JournalUnavailableError. Receipts whose request id is in `refused` cannot be
    stored. `appending` is set when a write begins; it waits while `may_append` is cleared.
    """

    def __init__(self) -> None:
        self.on_failed_read: Callable[[JournalUnavailableError], None] = lambda _error: None
        self.receipts: list[Receipt] = []
        self.counted_only: list[Receipt] = []
        self.refused: set[str] = set()
        self.is_down = False
        self.is_closed = False
        self.calls: list[str] = []
        self.pruned: list[tuple[datetime, timedelta, timedelta, int]] = []
        self.prunable = 0
        self.is_prune_broken = False
        self.appending = threading.Event()
        self.may_append = threading.Event()
        self.may_append.set()
        self.tries = threading.Semaphore(0)
        self.prunings = threading.Semaphore(0)

    @property
    def request_ids(self) -> list[str]:
        return [receipt.request_id for receipt in self.receipts]

    def migrate(self) -> None:
        self._enter("migrate")

    def append(self, receipts: Sequence[Receipt], *, counted_only: Sequence[Receipt] = ()) -> None:
        self.appending.set()
        self.may_append.wait(timeout=30)
        self._enter("append")
        if any(receipt.request_id in self.refused for receipt in (*receipts, *counted_only)):
            raise ValueError("a receipt that this store cannot take")
        self.receipts.extend(receipts)
        self.counted_only.extend(counted_only)

    def read_history(self, **question: Any) -> History:
        raise NotImplementedError

    def read_receipts(self, **question: Any) -> tuple[Receipt, ...]:
        try:
            self._enter("read")
        except JournalUnavailableError as error:
            self.on_failed_read(error)
            raise
        return tuple(self.receipts)

    def prune(
        self, *, now: datetime, steady_for: timedelta, retention: timedelta, max_receipts: int, limit: int
    ) -> int:
        self.pruned.append((now, steady_for, retention, max_receipts))
        deleted = min(self.prunable, limit)
        self.prunable -= deleted
        self.prunings.release()
        if self.is_prune_broken:
            raise ValueError("this store cannot prune")
        return deleted

    def close(self) -> None:
        self.is_closed = True

    def _enter(self, call: str) -> None:
        self.calls.append(call)
        self.tries.release()
        if self.is_down:
            raise JournalUnavailableError("the fake store is down", retry_after_s=1.0)
