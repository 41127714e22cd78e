"""The journal's interfaces: writing receipts, reading them, and storing them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

from bento_service.domain.history import History
from bento_service.domain.requests import Receipt
from bento_service.errors import JournalUnavailableError

Order = Literal["slowest", "newest"]


@dataclass(frozen=True, slots=True)
class JournalCounts:
    """Receipts of this process: waiting to be written, written (those only counted too) and dropped."""

    waiting: int
    written: int
    dropped: int


class JournalReader(Protocol):
    """Reads receipts, one by one or aggregated. Blocking; thread-safe.

    All times are timezone-aware; those returned are UTC. Each method raises JournalUnavailableError if a later try may
    succeed: the database is down, the disk full, the file locked.
    """

    def read_history(self, *, since: datetime, until: datetime, buckets: int, model: str | None = None) -> History:
        """Aggregate `[since, until)` into `buckets` intervals of equal length, empty ones included.

        Intervals begin at multiples of their length, so there may be one more (`windows.plan_window`). The history
        ends now if its last bucket is not over yet. Percentiles are nearest-rank ones, at most 2 % too large.

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
        model_version: str | None = None,
        outcome: str | None = None,
        request_id: str | None = None,
        offset: int = 0,
    ) -> tuple[Receipt, ...]:
        """Return single receipts of `[since, until)`, at most `limit` after the first `offset`.

        `newest` takes every outcome unless one is named; `slowest`, by total time, answered requests unless another
        outcome is named. `model_version` is a whole version. `request_id` keeps the receipts with exactly that id;
        clients choose ids, so there may be several.
        """


class JournalStore(JournalReader, Protocol):
    """Stores receipts. Blocking; safe to use from several threads and processes at once.

    Each method but `close` raises JournalUnavailableError as a `JournalReader` does.
    """

    on_failed_read: Callable[[JournalUnavailableError], None]
    """Called with the error of each failed read, from the thread that reads."""

    def migrate(self) -> None:
        """Bring the schema up to date. Safe when several processes do it at once."""

    def append(self, receipts: Sequence[Receipt], *, counted_only: Sequence[Receipt] = ()) -> None:
        """Store receipts and add them to the rollups, those of `counted_only` to the rollups alone: all or none.

        Any error but JournalUnavailableError means that one of these receipts cannot be stored.
        """

    def prune(
        self, *, now: datetime, steady_for: timedelta, retention: timedelta, max_receipts: int, limit: int
    ) -> int:
        """Delete at most `limit` receipts: older than `retention`, then the first written beyond `max_receipts`.

        Returns the number deleted. Fewer than `limit` means that no more are due; then rollups older than their
        resolution is kept (`windows.RESOLUTIONS`) are deleted too.

        A registry's comparisons go by the same limits.

        Nothing is deleted by age if `now` cannot be trusted (`retention.Pruning`). Receipts dated after `now` are
        deleted together with older ones written later.
        """

    def close(self) -> None:
        """Release connections. The store is not used after."""


class Journal(Protocol):
    """Takes receipts off the request's path; `writer.JournalWriter` does. Thread-safe."""

    @property
    def reader(self) -> JournalReader:
        """Reads what was written."""

    def record(self, receipt: Receipt) -> None:
        """Take one receipt without waiting; drop and count it if the buffer is full."""

    def counts(self) -> JournalCounts:
        """Return how many receipts wait, were written and were dropped."""

    def close(self, timeout_s: float = 10.0) -> int:
        """Write waiting receipts for at most `timeout_s`, close the store, and return how many are lost. Blocking."""
