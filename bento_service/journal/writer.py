"""A journal that writes in the background: requests hand over receipts and never wait for a database."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple

from bento_service.database.connections import describe_cause
from bento_service.domain.history import History
from bento_service.domain.requests import Receipt
from bento_service.errors import JournalUnavailableError
from bento_service.journal.base import JournalCounts, JournalStore, Order
from bento_service.journal.epoch import utc_now
from bento_service.journal.outages import OutageLog
from bento_service.journal.refusals import RefusalSampler
from bento_service.journal.retention import ClockWatch

_PRUNE_ROWS = 5_000
_log = logging.getLogger(__name__)


def ignore_count(_rows: int) -> None:
    """Do nothing: the default of `on_written`, `on_dropped` and `on_waiting`."""


class _Waiting(NamedTuple):
    """A receipt on its way to the store. `is_single` tells whether it is stored, not only counted."""

    receipt: Receipt
    is_single: bool


class JournalWriter:
    """A `Journal` over a store, with a bounded buffer and one daemon thread that writes and prunes.

    Receipts reach the store about `flush_interval_s` after they were recorded, or sooner where `batch_rows` wait. While
    the store is unavailable they stay in the buffer, and the thread tries again after a pause that doubles up to
    `retry_max_s`; what no longer fits is dropped and counted. A receipt that the store cannot take at all is dropped
    alone. After each failure, of a read too, the store is migrated again before its next write. Outages and losses are
    logged as they begin and end (`outages.OutageLog`). Refusals are stored up to a rate (`refusals.MAX_REFUSALS_PER_S`)
    and only counted beyond it.
    """

    def __init__(
        self,
        store: JournalStore,
        *,
        capacity: int,
        retention: timedelta,
        max_rows: int,
        flush_interval_s: float = 1.0,
        batch_rows: int = 1_000,
        retry_min_s: float = 0.5,
        retry_max_s: float = 30.0,
        prune_interval_s: float = 60.0,
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = time.monotonic,
        migration_error: JournalUnavailableError | None = None,
        on_written: Callable[[int], None] = ignore_count,
        on_dropped: Callable[[int], None] = ignore_count,
        on_waiting: Callable[[int], None] = ignore_count,
    ) -> None:
        """Start the thread, which migrates the store before its first write.

        Args:
            store: Where receipts go; closed together with the journal.
            capacity: Receipts that may wait, at most.
            retention: How long receipts are kept.
            max_rows: Receipts that are kept, at most; what comes in between two prunings may go beyond it.
            flush_interval_s: Pause between writes.
            batch_rows: Receipts a transaction, at most.
            retry_min_s: First pause after a failure.
            retry_max_s: Longest pause after failures.
            prune_interval_s: Time between prunings.
            now: The clock that retention and the rate of refusals go by.
            clock: Seconds, monotonic; pruning goes by it, and `now` is held against it.
            migration_error: Why a first try to migrate the store has failed, if it has.
            on_written: Told how many receipts were just written. Called from any thread; must be quick and not raise.
            on_dropped: Told how many were just dropped; likewise.
            on_waiting: Told how many wait, at each change and in the order of the changes; likewise.
        """
        self._store = store
        self._capacity = capacity
        self._retention = retention
        self._max_rows = max_rows
        self._flush_interval_s = flush_interval_s
        self._batch_rows = batch_rows
        self._retry_min_s = retry_min_s
        self._retry_max_s = retry_max_s
        self._prune_interval_s = prune_interval_s
        self._now = now
        self._clock = clock
        self._on_written = on_written
        self._on_dropped = on_dropped
        self._on_waiting = on_waiting

        # Guards buffer, sampler, counts and closing; held for microseconds only, never while the store is at work.
        self._changed = threading.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._sampler = RefusalSampler()
        self._written = 0
        self._dropped = 0
        self._close_by_s: float | None = None
        self._failed_reads = 0  # since the thread last looked
        self._read_error: JournalUnavailableError | None = None

        # Of the thread alone.
        self._is_migrated = False
        self._outages = OutageLog(clock)
        self._watch = ClockWatch(now, clock)
        self._prune_at_s = clock()
        self._prune_error: Exception | None = None
        if migration_error is not None:
            self._outages.note_failure(migration_error)
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def record(self, receipt: Receipt) -> None:
        """Take one receipt without waiting; drop and count it where the buffer is full or the journal closed."""
        with self._changed:
            is_taken = len(self._waiting) < self._capacity and self._close_by_s is None
            if is_taken:
                self._waiting.append(_Waiting(receipt, self._sampler.takes(receipt, at=self._now())))
                self._on_waiting(len(self._waiting))
                if len(self._waiting) == self._batch_rows:
                    self._changed.notify()
        if not is_taken:
            self._count_dropped(1)

    def counts(self) -> JournalCounts:
        """Return how many rows wait, were written and were dropped."""
        with self._changed:
            return JournalCounts(waiting=len(self._waiting), written=self._written, dropped=self._dropped)

    def read_history(self, *, since: datetime, until: datetime, buckets: int, model: str | None = None) -> History:
        """Ask the store; receipts that still wait are not in the answer."""
        with self._noting_failed_read():
            return self._store.read_history(since=since, until=until, buckets=buckets, model=model)

    def read_receipts(
        self,
        *,
        since: datetime,
        until: datetime,
        order: Order,
        limit: int,
        model: str | None = None,
        outcome: str | None = None,
        request_id: str | None = None,
        offset: int = 0,
    ) -> tuple[Receipt, ...]:
        """Ask the store; receipts that still wait are not in the answer."""
        with self._noting_failed_read():
            return self._store.read_receipts(
                since=since,
                until=until,
                order=order,
                limit=limit,
                model=model,
                outcome=outcome,
                request_id=request_id,
                offset=offset,
            )

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
            self._on_waiting(0)
        if lost:
            self._count_dropped(lost)
            _log.error("The journal was closed before %d receipts could be written; they are lost.", lost)
        self._store.close()
        return lost

    @contextmanager
    def _noting_failed_read(self) -> Iterator[None]:
        try:
            yield
        except JournalUnavailableError as error:
            with self._changed:
                self._failed_reads += 1
                self._read_error = error
            raise

    def _run(self) -> None:
        while True:
            self._pause()
            try:
                self._work()
            except Exception as error:  # noqa: BLE001 - whatever the store raises, requests go on and the thread tries again
                self._is_migrated = False
                self._outages.note_failure(error)
            else:
                self._outages.note_success(self.counts().dropped)
            if self._is_done():
                return

    def _pause(self) -> None:
        """Wait for the next write: an interval, a full batch or the closing; after a failure, for longer and longer."""
        with self._changed:
            if not self._outages.failures:
                self._changed.wait_for(
                    lambda: self._close_by_s is not None or len(self._waiting) >= self._batch_rows,
                    timeout=self._flush_interval_s,
                )
            elif self._close_by_s is None:
                pause_s = min(self._retry_max_s, self._retry_min_s * 2 ** min(self._outages.failures - 1, 32))
                self._changed.wait_for(lambda: self._close_by_s is not None, timeout=pause_s)
            else:
                self._changed.wait(timeout=min(self._retry_min_s, max(0.0, self._close_by_s - time.monotonic())))

    def _is_done(self) -> bool:
        with self._changed:
            return self._close_by_s is not None and (not self._waiting or time.monotonic() >= self._close_by_s)

    def _work(self) -> None:
        with self._changed:
            failed_reads, read_error = self._failed_reads, self._read_error
            self._failed_reads, self._read_error = 0, None
        if read_error is not None or not self._is_migrated:
            self._store.migrate()
            self._is_migrated = True
        while batch := self._peek():
            self._write(batch)
        # Only now: where the store cannot be written either, it is an outage, which is logged as one.
        if read_error is not None:
            self._outages.note_failed_reads(failed_reads, read_error)
        if self._prune_error is not None:
            self._outages.note_failed_pruning(self._prune_error)
            self._prune_error = None
        if self._close_by_s is None and self._clock() >= self._prune_at_s:
            self._prune()

    def _peek(self) -> list[_Waiting]:
        with self._changed:
            return list(islice(self._waiting, self._batch_rows))

    def _write(self, batch: list[_Waiting]) -> None:
        """Write the first receipts of the buffer, which `batch` holds, and take them out of it."""
        try:
            self._store.append(
                [waiting.receipt for waiting in batch if waiting.is_single],
                counted_only=[waiting.receipt for waiting in batch if not waiting.is_single],
            )
        except JournalUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - a receipt that the store cannot take must not keep the others out
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
            self._on_written(written)

    def _take_out(self, rows: int) -> int:
        """Remove up to `rows` receipts from the buffer's front; fewer where `close` gave up on them meanwhile."""
        with self._changed:
            rows = min(rows, len(self._waiting))
            for _ in range(rows):
                self._waiting.popleft()
            self._on_waiting(len(self._waiting))
        return rows

    def _prune(self) -> None:
        # Set first: pruning that fails is put off, and keeps no receipt from being written meanwhile.
        self._prune_at_s = self._clock() + self._prune_interval_s
        try:
            deleted = self._store.prune(
                now=self._now(),
                steady_for=self._watch.steady_for(),
                retention=self._retention,
                max_receipts=self._max_rows,
                limit=_PRUNE_ROWS,
            )
        except Exception as error:  # noqa: BLE001 - logged after the next write, which tells whether it is an outage
            self._prune_error, self._is_migrated = error, False
            return
        if deleted == _PRUNE_ROWS:  # more is left: go on after the next write instead of holding writers up
            self._prune_at_s = self._clock()

    def _count_dropped(self, rows: int) -> None:
        with self._changed:
            self._dropped += rows
        self._on_dropped(rows)
