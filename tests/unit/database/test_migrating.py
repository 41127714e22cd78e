"""What is said of a schema that cannot be brought up to date."""

import logging
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from bento_service.database.connections import Database
from bento_service.errors import JournalUnavailableError
from bento_service.journal.store import SqlJournalStore


def fail(store: SqlJournalStore) -> str:
    with pytest.raises(JournalUnavailableError) as refusal:
        store.migrate()
    return str(refusal.value)


def test_a_defect_of_a_migration_is_logged_once_with_its_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def upgrade(database: Database) -> None:
        raise KeyError("x")

    store = SqlJournalStore(f"sqlite:///{tmp_path / 'journal.sqlite3'}", upgrade=upgrade)
    with caplog.at_level(logging.ERROR):
        said = [fail(store), fail(store)]

    assert "cannot be used: KeyError: 'x'" in said[0]
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is KeyError


def test_what_a_database_says_of_itself_is_no_defect(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def upgrade(database: Database) -> None:
        raise OperationalError("CREATE TABLE receipts", {}, RuntimeError("permission denied for schema public"))

    said = fail(SqlJournalStore(f"sqlite:///{tmp_path / 'journal.sqlite3'}", upgrade=upgrade))

    assert "cannot be used: permission denied for schema public. Check the database" in said
    assert caplog.records == []
