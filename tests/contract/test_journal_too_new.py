"""A journal that a newer Lightbox has migrated, used by this one."""

from dataclasses import replace

import pytest

from bento_service.cli.errors import explained_start
from bento_service.database.revisions import newest_revision
from bento_service.errors import JournalUnavailableError
from bento_service.journal.store import SqlJournalStore, migrate
from tests.contract.watched_store import WINDOW, execute, open_begun, open_watched, read_ids
from tests.unit.journal.receipts import make_receipt

MIGRATE_AHEAD = (
    "ALTER TABLE receipts RENAME COLUMN request_id TO id_of_request",
    "UPDATE alembic_version SET version_num = '9999'",
)
MIGRATE_BACK = (
    "ALTER TABLE receipts RENAME COLUMN id_of_request TO request_id",
    f"UPDATE alembic_version SET version_num = '{newest_revision()}'",  # noqa: S608 - a file's name
)


def test_a_start_is_refused_in_one_line_and_changes_nothing(store: SqlJournalStore, journal_url: str) -> None:
    store.append([make_receipt()])
    execute(journal_url, *MIGRATE_AHEAD)

    with pytest.raises(SystemExit) as end, explained_start():
        migrate(journal_url)

    line = str(end.value)
    assert line.startswith("lightbox: The journal at ")
    assert "was written by a newer Lightbox (its schema is 9999, the newest known here" in line
    assert f"{newest_revision()}). Use that version" in line
    assert "restore a backup" in line
    assert "LIGHTBOX_JOURNAL_URL" in line
    assert "\n" not in line
    execute(journal_url, *MIGRATE_BACK)
    assert store.read_receipts(**WINDOW, order="newest", limit=10) == (make_receipt(),)


def test_a_starting_worker_keeps_receipts_until_it_can_write(
    store: SqlJournalStore, journal_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    execute(journal_url, *MIGRATE_AHEAD)

    journal, watched, wait_written = open_watched(journal_url)
    journal.record(make_receipt())
    watched.wait_for_failure("was written by a newer Lightbox")
    assert journal.counts().waiting == 1

    execute(journal_url, *MIGRATE_BACK)
    assert wait_written()
    assert "Receipts wait in memory: " in caplog.text
    assert "was written by a newer Lightbox" in caplog.text
    journal.close()


def test_a_running_worker_keeps_receipts_until_it_can_write(journal_url: str) -> None:
    journal, watched, wait_written = open_begun(journal_url)

    execute(journal_url, *MIGRATE_AHEAD)
    journal.record(make_receipt("during"))
    watched.wait_for_failure("was written by a newer Lightbox")
    with pytest.raises(JournalUnavailableError, match="was written by a newer Lightbox"):
        journal.reader.read_receipts(**WINDOW, order="newest", limit=10)
    assert journal.counts().dropped == 0

    execute(journal_url, *MIGRATE_BACK)
    assert wait_written()
    assert sorted(read_ids(journal.reader)) == ["before", "during"]
    journal.close()


def test_a_refused_receipt_is_not_reported_as_a_newer_schema(store: SqlJournalStore) -> None:
    with pytest.raises(Exception, match="request_id") as refusal:
        # The column may not be null.
        store.append([replace(make_receipt(), request_id=None)])  # type: ignore[arg-type]

    assert not isinstance(refusal.value, JournalUnavailableError)
