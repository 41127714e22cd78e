"""Writes receipts in the background: requests hand them over and never wait for a database."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple

from bento_service.database.connections import describe_cause
from bento_service.domain.requests import Receipt
from bento_service.errors import JournalUnavailableError
from bento_service.journal.base import JournalCounts, JournalReader, JournalStore
from bento_service.journal.outages import OutageLog
from bento_service.journal.retention import ClockWatch
from bento_service.journal.store import SqlJournalStore
from bento_service.journal.windows import utc_now
from bento_service.settings import Settings

MAX_UNREAD_PER_S = 10
"""Receipts of unread images that are stored each second; the rollups count every one."""
_PRUNE_ROWS = 5_000
_log = logging.getLogger(__name__)


def ignore_count(_rows: int) -> None:
    """Do nothing: the default of `on_written`, `on_dropped` and `on_waiting`."""


class _Waiting(NamedTuple):
    """A receipt to be written: stored and counted, or only counted."""

    receipt: Receipt
    is_stored: bool


@dataclass(eq=False)
class JournalWriter:
    """A `Journal` over a store, with a bounded buffer and one daemon thread that writes and prunes.

    While the store is unavailable receipts stay in the buffer, and the thread tries again after a pause that doubles;
    receipts that do not fit are dropped and counted. A receipt that the store refuses is dropped alone. After each
    failure, of a read too, the store is migrated again before the next write.

    A receipt without a digest is of an image that was refused unread. That costs the server so little that only the
    client bounds the rate: beyond `MAX_UNREAD_PER_S` such receipts are counted and not stored.

    The thread starts at once and migrates the store first. The callbacks run on any thread, must be quick, and must not
    raise.
    """

    store: JournalStore
    """Closed together with the writer."""
    _: KW_ONLY
    capacity: int
    """Most receipts that may wait."""
    retention: timedelta
    max_rows: int
    """Most receipts that are kept; between two prunings there may be more."""
    flush_interval_s: float = 1.0
    """Pause between writes; shorter once `batch_rows` wait."""
    batch_rows: int = 1_000
    """Most receipts a transaction."""
    retry_min_s: float = 0.5
    retry_max_s: float = 30.0
    prune_interval_s: float = 60.0
    now: Callable[[], datetime] = utc_now
    clock: Callable[[], float] = time.monotonic
    on_written: Callable[[int], None] = ignore_count
    """Called with the receipts just written."""
    on_dropped: Callable[[int], None] = ignore_count
    """Called with the receipts just dropped."""
    on_waiting: Callable[[int], None] = ignore_count
    """Called with the receipts that wait, at each change."""

    def __post_init__(self) -> None:
        # Guards all that follows up to the thread's own; held for microseconds, never while the store is at work.
        self._changed = threading.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._unread_of: tuple[datetime | None, int] = (None, 0)
        self._written = 0
        self._dropped = 0
        self._close_by_s: float | None = None

        # Used by the writer's thread; readers only append.
        self._failed_reads: deque[JournalUnavailableError] = deque()
        self._is_migrated = False
        self._outages = OutageLog(self.clock)
        self._watch = ClockWatch(self.now, self.clock)
        self._prune_at_s = self.clock()
        self._prune_error: Exception | None = None
        self.store.on_failed_read = self._failed_reads.append
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    @property
    def reader(self) -> JournalReader:
        """Reads what was written; receipts that still wait are not found."""
        return self.store

    def record(self, receipt: Receipt) -> None:
        """Take one receipt without waiting; drop and count it if the buffer is full or the journal closed."""
        with self._changed:
            is_taken = len(self._waiting) < self.capacity and self._close_by_s is None
            if is_taken:
                self._waiting.append(_Waiting(receipt, bool(receipt.digest) or self._stores_unread()))
                self.on_waiting(len(self._waiting))
                if len(self._waiting) == self.batch_rows:
                    self._changed.notify()
        if not is_taken:
            self._count_dropped(1)

    def counts(self) -> JournalCounts:
        """Return how many receipts wait, were written and were dropped."""
        with self._changed:
            return JournalCounts(waiting=len(self._waiting), written=self._written, dropped=self._dropped)

    def close(self, timeout_s: float = 10.0) -> int:
        """Write what waits, for at most `timeout_s` seconds; drop, count and return the rest. May be called again."""
        with self._changed:
            if self._close_by_s is None:
                self._close_by_s = time.monotonic() + timeout_s
            self._changed.notify()
        self._thread.join(timeout_s)
        with self._changed:
            lost = len(self._waiting)
            self._waiting.clear()
            self.on_waiting(0)
        if lost:
            self._count_dropped(lost)
            _log.error("The journal was closed before %d receipts could be written; they are lost.", lost)
        self.store.close()
        return lost

    def _stores_unread(self) -> bool:
        second = self.now().replace(microsecond=0)
        last, taken = self._unread_of
        taken = taken + 1 if second == last else 1
        self._unread_of = (second, taken)
        return taken <= MAX_UNREAD_PER_S

    def _run(self) -> None:
        step = self._migrate
        while True:
            try:
                step()
            except Exception as error:  # noqa: BLE001 - whatever the store raises, requests go on and the thread tries again
                self._is_migrated = False
                self._outages.note_failure(error)
            else:
                self._outages.note_success(self.counts().dropped)
            if self._is_done():
                return
            self._pause()
            step = self._work

    def _pause(self) -> None:
        """Wait for the next write: an interval, a full batch or closing; after failures longer each time."""
        with self._changed:
            if not self._outages.failures:
                self._changed.wait_for(
                    lambda: self._close_by_s is not None or len(self._waiting) >= self.batch_rows,
                    timeout=self.flush_interval_s,
                )
            elif self._close_by_s is None:
                pause_s = min(self.retry_max_s, self.retry_min_s * 2 ** min(self._outages.failures - 1, 32))
                self._changed.wait_for(lambda: self._close_by_s is not None, timeout=pause_s)
            else:
                self._changed.wait(timeout=min(self.retry_min_s, max(0.0, self._close_by_s - time.monotonic())))

    def _is_done(self) -> bool:
        with self._changed:
            return self._close_by_s is not None and (not self._waiting or time.monotonic() >= self._close_by_s)

    def _migrate(self) -> None:
        if not self._is_migrated:
            self.store.migrate()
            self._is_migrated = True

    def _work(self) -> None:
        failed_reads = [self._failed_reads.popleft() for _ in range(len(self._failed_reads))]
        self._is_migrated = self._is_migrated and not failed_reads
        self._migrate()
        while batch := self._peek():
            self._write(batch)
        # Only now: if the store cannot be written either, that is logged as an outage instead.
        if failed_reads:
            self._outages.failed_reads.note(failed_reads[-1], len(failed_reads))
        if self._prune_error is not None:
            self._outages.failed_prunings.note(self._prune_error)
            self._prune_error = None
        if self._close_by_s is None and self.clock() >= self._prune_at_s:
            self._prune()

    def _peek(self) -> list[_Waiting]:
        with self._changed:
            return list(islice(self._waiting, self.batch_rows))

    def _write(self, batch: list[_Waiting]) -> None:
        """Write the first receipts of the buffer and take them out of it."""
        try:
            self.store.append(
                [waiting.receipt for waiting in batch if waiting.is_stored],
                counted_only=[waiting.receipt for waiting in batch if not waiting.is_stored],
            )
        except JournalUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - a receipt that the store refuses must not keep the others out
            if len(batch) > 1:
                self._write(batch[: len(batch) // 2])
                self._write(batch[len(batch) // 2 :])
                return
            self._outages.note_refusal(batch[0].receipt.request_id, describe_cause(error))
            self._count_dropped(self._take_out(1))
        else:
            written = self._take_out(len(batch))
            with self._changed:
                self._written += written
            self.on_written(written)

    def _take_out(self, rows: int) -> int:
        """Remove up to `rows` receipts from the buffer's front; fewer if `close` has emptied it meanwhile."""
        with self._changed:
            rows = min(rows, len(self._waiting))
            for _ in range(rows):
                self._waiting.popleft()
            self.on_waiting(len(self._waiting))
        return rows

    def _prune(self) -> None:
        # Set first: a pruning that fails waits for the next interval, and receipts are written meanwhile.
        self._prune_at_s = self.clock() + self.prune_interval_s
        try:
            deleted = self.store.prune(
                now=self.now(),
                steady_for=self._watch.steady_for(),
                retention=self.retention,
                max_receipts=self.max_rows,
                limit=_PRUNE_ROWS,
            )
        except Exception as error:  # noqa: BLE001 - logged after the next write, which shows whether it is an outage
            self._prune_error, self._is_migrated = error, False
            return
        if deleted == _PRUNE_ROWS:  # more is left: go on after the next write, which must not wait
            self._prune_at_s = self.clock()

    def _count_dropped(self, rows: int) -> None:
        with self._changed:
            self._dropped += rows
        self.on_dropped(rows)


def open_journal(
    settings: Settings,
    *,
    on_written: Callable[[int], None] = ignore_count,
    on_dropped: Callable[[int], None] = ignore_count,
    on_waiting: Callable[[int], None] = ignore_count,
) -> JournalWriter:
    """Start writing to the settings' database, reachable or not; JournalUrlError if it is no SQLite or PostgreSQL."""
    return JournalWriter(
        SqlJournalStore(settings.resolved_journal_url),
        capacity=settings.journal_buffer_rows,
        retention=timedelta(days=settings.journal_retention_days),
        max_rows=settings.journal_max_rows,
        on_written=on_written,
        on_dropped=on_dropped,
        on_waiting=on_waiting,
    )
