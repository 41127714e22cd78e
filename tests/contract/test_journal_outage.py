"""What happens to receipts while a real database is away."""

from datetime import timedelta
from pathlib import Path

import pytest

from bento_service.errors import JournalUnavailableError
from bento_service.journal.store import SqlJournalStore
from tests.contract.postgresql import PostgresqlServer
from tests.contract.watched_store import open_begun
from tests.unit.journal.receipts import NOW, Window, make_receipt

WINDOW: Window = {"since": NOW - timedelta(days=1), "until": NOW + timedelta(days=1)}


@pytest.mark.postgres
def test_receipts_recorded_while_postgresql_is_down_are_written_once_it_is_back(
    postgresql_server: PostgresqlServer, postgresql_url: str
) -> None:
    journal, _, wait_written = open_begun(postgresql_url)
    postgresql_server.stop()
    try:
        journal.record(make_receipt("during"))
        with pytest.raises(JournalUnavailableError, match="cannot be used"):
            journal.reader.read_history(**WINDOW, buckets=1)
    finally:
        postgresql_server.start()
    assert wait_written()
    found = journal.reader.read_receipts(**WINDOW, order="newest", limit=10)
    assert sorted(receipt.request_id for receipt in found) == ["before", "during"]
    journal.close()


def test_a_file_that_is_no_database_is_reported_as_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    path.write_bytes(b"no database at all " * 100)
    store = SqlJournalStore(f"sqlite:///{path}")
    with pytest.raises(JournalUnavailableError, match="not a database"):
        store.migrate()
    store.close()


def test_a_folder_that_cannot_be_created_is_reported_as_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = SqlJournalStore(f"sqlite:///{tmp_path}/file/journal.sqlite3")
    with pytest.raises(JournalUnavailableError, match="Check the database"):
        store.migrate()
    store.close()
