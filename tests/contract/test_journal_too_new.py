"""A journal that a newer Lightbox has written, read by this one."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import create_engine, text

from bento_service.cli.errors import explained_start
from bento_service.database.url import parse_url
from bento_service.errors import JournalTooNewError, JournalUnavailableError
from bento_service.journal.store import SqlJournalStore, migrate
from tests.contract.watched_store import open_begun, open_watched
from tests.unit.journal.receipts import NOW, make_receipt

DAY = timedelta(days=1)
Run = Callable[..., None]


@pytest.fixture
def run(journal_url: str) -> Run:
    """Runs statements on the journal's database, all or none."""

    def run_statements(*statements: str) -> None:
        engine = create_engine(parse_url(journal_url))
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))
        engine.dispose()

    return run_statements


MIGRATE_AHEAD = (
    "ALTER TABLE receipts RENAME COLUMN request_id TO id_of_request",
    "UPDATE alembic_version SET version_num = '9999'",
)
MIGRATE_BACK = (
    "ALTER TABLE receipts RENAME COLUMN id_of_request TO request_id",
    "UPDATE alembic_version SET version_num = '0003'",
)


def test_a_start_is_refused_in_one_line_that_says_what_to_do(
    store: SqlJournalStore, journal_url: str, run: Run
) -> None:
    run(*MIGRATE_AHEAD)

    with pytest.raises(SystemExit) as end, explained_start():
        migrate(journal_url)

    line = str(end.value)
    assert line.startswith("lightbox: The journal at ")
    assert "was written by a newer Lightbox (its schema is 9999, the newest known here 0003). Use that version" in line
    assert "restore a backup" in line
    assert "LIGHTBOX_JOURNAL_URL" in line
    assert "\n" not in line


def test_a_refused_start_leaves_the_journal_as_it_is(store: SqlJournalStore, journal_url: str, run: Run) -> None:
    store.append([make_receipt()])
    run(*MIGRATE_AHEAD)
    with pytest.raises(JournalTooNewError):
        migrate(journal_url)

    run(*MIGRATE_BACK)

    assert store.read_receipts(since=NOW - DAY, until=NOW + DAY, order="newest", limit=10) == (make_receipt(),)


def test_a_worker_that_starts_with_it_keeps_receipts_until_it_can_write(
    store: SqlJournalStore, journal_url: str, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    run(*MIGRATE_AHEAD)

    journal, watched, wait_written = open_watched(journal_url)
    journal.record(make_receipt())
    watched.wait_for_failure("was written by a newer Lightbox")
    assert journal.counts().waiting == 1

    run(*MIGRATE_BACK)
    assert wait_written()
    assert "Receipts wait in memory: " in caplog.text
    assert "was written by a newer Lightbox" in caplog.text
    journal.close()


def test_a_running_worker_keeps_receipts_until_the_schema_is_its_own_again(journal_url: str, run: Run) -> None:
    journal, watched, wait_written = open_begun(journal_url)

    run(*MIGRATE_AHEAD)
    journal.record(make_receipt("during"))
    watched.wait_for_failure("was written by a newer Lightbox")
    with pytest.raises(JournalUnavailableError, match="was written by a newer Lightbox"):
        journal.reader.read_receipts(since=NOW - DAY, until=NOW + DAY, order="newest", limit=10)
    assert journal.counts().dropped == 0

    run(*MIGRATE_BACK)
    assert wait_written()
    found = journal.reader.read_receipts(since=NOW - DAY, until=NOW + DAY, order="newest", limit=10)
    assert sorted(receipt.request_id for receipt in found) == ["before", "during"]
    journal.close()


def test_a_refused_receipt_is_not_reported_as_a_newer_schema(store: SqlJournalStore) -> None:
    with pytest.raises(Exception, match="request_id") as refusal:
        # The column may not be null.
        store.append([replace(make_receipt(), request_id=None)])  # type: ignore[arg-type]

    assert not isinstance(refusal.value, JournalUnavailableError)
