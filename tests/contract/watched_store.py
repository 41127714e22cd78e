"""A journal over a real database whose thread a test can follow, and statements on that database."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from queue import SimpleQueue
from typing import Any

from sqlalchemy import create_engine, text

from bento_service.database.url import parse_url
from bento_service.domain.requests import Receipt
from bento_service.errors import JournalUnavailableError
from bento_service.journal.base import JournalReader
from bento_service.journal.store import SqlJournalStore
from bento_service.journal.writer import JournalWriter
from tests.unit.journal.receipts import NOW, Window, make_receipt

WINDOW: Window = {"since": NOW - timedelta(days=1), "until": NOW + timedelta(days=1)}


def execute(url: str, *statements: str) -> None:
    """Run statements in one transaction, even if the database is read-only by default."""
    engine = create_engine(parse_url(url))
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET TRANSACTION READ WRITE"))
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def read_ids(store: JournalReader) -> list[str]:
    """The request ids of all receipts around NOW, newest first."""
    return [receipt.request_id for receipt in store.read_receipts(**WINDOW, order="newest", limit=10_000)]


class WatchedStore(SqlJournalStore):
    """Reports failed writes, migrations and prunings to the test."""

    def __init__(self, url: str) -> None:
        super().__init__(url, now=lambda: NOW)
        self.failures: SimpleQueue[str] = SimpleQueue()
        self.migrations = threading.Semaphore(0)
        self.has_pruned = threading.Event()

    def migrate(self) -> None:
        with self._noting_failure():
            super().migrate()
        self.migrations.release()

    def append(self, receipts: Sequence[Receipt], *, counted_only: Sequence[Receipt] = ()) -> None:
        with self._noting_failure():
            super().append(receipts, counted_only=counted_only)

    def prune(self, **options: Any) -> int:
        deleted = super().prune(**options)
        self.has_pruned.set()
        return deleted

    def wait_for_failure(self, reason: str) -> None:
        while reason not in self.failures.get(timeout=30):
            pass

    @contextmanager
    def _noting_failure(self) -> Iterator[None]:
        try:
            yield
        except JournalUnavailableError as error:
            self.failures.put(str(error))
            raise


def open_watched(url: str) -> tuple[JournalWriter, WatchedStore, Callable[[], bool]]:
    """Return a journal that writes and retries at once, its store, and a function that waits for the next write."""
    store, written = WatchedStore(url), threading.Semaphore(0)
    journal = JournalWriter(
        store,
        capacity=100,
        retention=timedelta(days=30),
        max_rows=1_000,
        flush_interval_s=0.01,
        retry_min_s=0.01,
        retry_max_s=0.05,
        now=lambda: NOW,
        on_written=written.release,
    )
    return journal, store, lambda: written.acquire(timeout=30)


def open_begun(url: str) -> tuple[JournalWriter, WatchedStore, Callable[[], bool]]:
    """Return the same, after the receipt `before` is written and the thread is idle."""
    journal, store, wait_written = open_watched(url)
    journal.record(make_receipt("before"))
    assert wait_written()
    assert store.has_pruned.wait(timeout=30)
    return journal, store, wait_written
