"""Builds the journal that the settings name."""

from collections.abc import Callable
from datetime import timedelta

from bento_service.errors import JournalUnavailableError
from bento_service.journal.store import SqlJournalStore
from bento_service.journal.writer import JournalWriter, ignore_count
from bento_service.settings import Settings


def open_journal(
    settings: Settings,
    *,
    on_written: Callable[[int], None] = ignore_count,
    on_dropped: Callable[[int], None] = ignore_count,
    on_waiting: Callable[[int], None] = ignore_count,
) -> JournalWriter:
    """Migrate the journal's database and start writing to it.

    A database that is down, or that a newer Lightbox has just migrated, does not keep a worker from starting: receipts
    wait in the buffer until it is back.

    Raises:
        JournalUrlError: The URL is none of SQLite or PostgreSQL.
    """
    store = SqlJournalStore(settings.resolved_journal_url)
    migration_error = None
    try:
        store.migrate()
    except JournalUnavailableError as error:
        migration_error = error
    return JournalWriter(
        store,
        capacity=settings.journal_buffer_rows,
        retention=timedelta(days=settings.journal_retention_days),
        max_rows=settings.journal_max_rows,
        migration_error=migration_error,
        on_written=on_written,
        on_dropped=on_dropped,
        on_waiting=on_waiting,
    )


def migrate(url: str) -> None:
    """Bring a journal's database up to date.

    Raises:
        JournalUrlError: The URL is none of SQLite or PostgreSQL.
        JournalTooNewError: A newer Lightbox wrote the journal.
        JournalUnavailableError: The database cannot be reached or written.
    """
    store = SqlJournalStore(url)
    try:
        store.migrate()
    finally:
        store.close()
