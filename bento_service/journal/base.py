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

    All times are timezone-aware; those returned are UTC. A model of None means every model. Each method but `close`
    raises JournalUnavailableError where a later try may succeed: the database is down, the disk full, the file locked.
    """

    def migrate(self) -> None:
        """Bring the schema up to date. Safe when several processes do it at once."""

    def append(self, receipts: Sequence[Receipt]) -> None:
        """Store receipts and add them to the rollups, all in one transaction or not at all.

        Any error but JournalUnavailableError means that the store cannot take one of these receipts.
        """

    def read_history(self, *, since: datetime, until: datetime, buckets: int, model: str | None = None) -> History:
        """Aggregate `[since, until)` into at most `buckets` stretches of equal length, empty ones included.

        The window moves to whole steps of 5 s, 60 s, 10 min, 1 h or 1 d: `windows.plan_window` says how. The history
        names the window that it holds. Percentiles are within 1 % of the true ones.

        Raises:
            InvalidParameterError: `until` is not after `since`, or `buckets` is below 1.
        """

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
        """Return single receipts of `[since, until)`.

        `newest` takes every outcome unless one is named; `slowest`, by total time, answered requests unless another
        outcome is named.
        """

    def prune(self, *, receipts_before: datetime, limit: int) -> int:
        """Delete at most `limit` older receipts and return how many went; fewer than `limit` means that none is left.

        Then rollups go too that are older than their resolution is kept (`windows.RESOLUTIONS`).
        """

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

    def close(self, timeout_s: float = 10.0) -> int:
        """Write what waits, for at most `timeout_s` seconds, then release the store. Blocking.

        Returns:
            The receipts that could not be written in that time, and are lost.
        """
