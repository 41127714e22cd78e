"""What a journal promises, whatever stores it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from bento_service.domain import History, Receipt

Order = Literal["slowest", "newest"]


@dataclass(frozen=True, slots=True)
class JournalCounts:
    """Rows waiting to be written, written so far and dropped so far, in this process."""

    waiting: int
    written: int
    dropped: int


class JournalStore(Protocol):
    """A place that keeps receipts. Blocking; safe to call from several threads and processes at once.

    All times are timezone-aware UTC. A model of None means every model.
    """

    def migrate(self) -> None:
        """Bring the schema up to date. Safe when several processes do it at once."""

    def append(self, receipts: Sequence[Receipt]) -> None:
        """Store receipts and add them to the rollups, all in one transaction or not at all."""

    def read_history(self, *, since: datetime, until: datetime, buckets: int, model: str | None = None) -> History:
        """Aggregate `[since, until)` into `buckets` stretches of equal length, empty ones included."""

    def read_receipts(
        self,
        *,
        since: datetime,
        until: datetime,
        order: Order,
        limit: int,
        model: str | None = None,
        outcome: str | None = None,
    ) -> tuple[Receipt, ...]:
        """Return single receipts of `[since, until)`; `slowest` by total time of answered requests."""

    def prune(self, *, receipts_before: datetime, rollups_before: datetime) -> int:
        """Delete what is older and return how many receipts went."""

    def close(self) -> None:
        """Release connections. The store is not used after."""


class Journal(Protocol):
    """Takes receipts off the request's path and reads them back. Safe to call from several threads at once."""

    def record(self, receipt: Receipt) -> None:
        """Take one receipt without waiting; drop and count it where the buffer is full."""

    def counts(self) -> JournalCounts:
        """Return how many rows wait, were written and were dropped."""

    def read_history(self, *, since: datetime, until: datetime, buckets: int, model: str | None = None) -> History:
        """Like `JournalStore.read_history`. Blocking."""

    def read_receipts(
        self,
        *,
        since: datetime,
        until: datetime,
        order: Order,
        limit: int,
        model: str | None = None,
        outcome: str | None = None,
    ) -> tuple[Receipt, ...]:
        """Like `JournalStore.read_receipts`. Blocking."""

    def close(self) -> None:
        """Write what waits, then release the store. Blocking."""
