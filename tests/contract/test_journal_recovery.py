"""The journal recovers from failures of its database, and logs one line when they begin and one when they end."""

import logging
import random
import resource
import shutil
import sqlite3
import string
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from bento_service.database.tables import metadata
from bento_service.domain.history import HistoryBucket
from bento_service.errors import JournalUnavailableError
from bento_service.journal.base import JournalCounts
from bento_service.journal.writer import JournalWriter
from tests.contract.postgresql import PostgresqlServer
from tests.contract.watched_store import WINDOW, execute, open_begun, open_watched, read_ids
from tests.fakes.processes import acting_as_stranger
from tests.unit.journal.receipts import make_receipt

FAIL_ON_INSERT = (
    "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} RETURN new; END $$",
    "CREATE TRIGGER failing BEFORE INSERT ON receipts EXECUTE FUNCTION fail()",
)
MEND_INSERT = ("DROP FUNCTION fail() CASCADE",)
RAISE = "RAISE EXCEPTION 'as if by the server' USING ERRCODE = '{}';"

ALTER = "EXECUTE 'ALTER DATABASE ' || current_database() || '"
TERMINATE_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


def failing(statement: str) -> tuple[str, ...]:
    return (FAIL_ON_INSERT[0].format(statement), FAIL_ON_INSERT[1])


def read_total(journal: JournalWriter) -> HistoryBucket:
    return journal.reader.read_history(**WINDOW, buckets=1).total


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("break_by", "mend_by", "reason"),
    [
        # Connections made meanwhile stay read-only, as those to a server demoted in a fail-over do.
        (
            (f"DO $$ BEGIN {ALTER} SET default_transaction_read_only = on'; END $$", TERMINATE_OTHERS),
            (f"DO $$ BEGIN {ALTER} RESET default_transaction_read_only'; END $$",),
            "read-only transaction",
        ),
        (failing("PERFORM pg_terminate_backend(pg_backend_pid());"), MEND_INSERT, "terminating connection"),
        (failing(RAISE.format("53100")), MEND_INSERT, "as if by the server"),
        (failing(RAISE.format("40P01")), MEND_INSERT, "as if by the server"),
    ],
    ids=["read_only", "terminated_while_writing", "disk_full", "deadlock"],
)
def test_receipts_wait_for_postgresql_to_take_them_again(
    postgresql_url: str,
    break_by: tuple[str, ...],
    mend_by: tuple[str, ...],
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    journal, store, wait_written = open_begun(postgresql_url)

    execute(postgresql_url, *break_by)
    journal.record(make_receipt("during"))
    store.wait_for_failure(reason)
    assert journal.counts().dropped == 0
    execute(postgresql_url, *mend_by)

    assert wait_written()
    assert set(read_ids(journal.reader)) == {"before", "during"}
    journal.close()
    begin, end = caplog.messages
    assert begin.startswith("Receipts wait in memory: The journal at postgresql://")
    assert "\n" not in begin
    assert end.startswith("The journal is written again, after ")
    assert all(record.exc_info is None for record in caplog.records)


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("tables", "left", "top_classes"),
    [
        (("receipts",), {"during"}, ((1, "goldfish", 1), (285, "Egyptian cat", 1))),
        (("rollups",), {"before", "during"}, ((1, "goldfish", 1),)),
        (("classes",), {"before", "during"}, ((1, "goldfish", 1),)),
        ((*metadata.tables, "alembic_version"), {"during"}, ((1, "goldfish", 1),)),
    ],
    ids=["receipts", "rollups", "classes", "all"],
)
def test_dropped_tables_are_created_again(
    postgresql_url: str, tables: tuple[str, ...], left: set[str], top_classes: tuple[tuple[int, str, int], ...]
) -> None:
    journal, _, wait_written = open_begun(postgresql_url)

    execute(postgresql_url, f"DROP TABLE {', '.join(tables)}")
    journal.record(make_receipt("during", class_id=1, label="goldfish"))

    assert wait_written()
    assert set(read_ids(journal.reader)) == left
    assert read_total(journal).top_classes == top_classes
    journal.close()


def test_a_read_alone_brings_dropped_tables_back(journal_url: str) -> None:
    journal, store, _ = open_begun(journal_url)
    while store.migrations.acquire(blocking=False):
        pass
    execute(journal_url, "DROP TABLE rollups")

    with pytest.raises(JournalUnavailableError, match="rollups"):
        read_total(journal)

    assert store.migrations.acquire(timeout=30)
    assert read_total(journal).outcomes == {}
    journal.close()


@pytest.mark.postgres
def test_receipts_wait_while_postgresql_is_down(postgresql_server: PostgresqlServer, postgresql_url: str) -> None:
    journal, _, wait_written = open_begun(postgresql_url)
    postgresql_server.stop()
    try:
        journal.record(make_receipt("during"))
        with pytest.raises(JournalUnavailableError, match="cannot be used"):
            read_total(journal)
    finally:
        postgresql_server.start()
    assert wait_written()
    assert set(read_ids(journal.reader)) == {"before", "during"}
    journal.close()


@pytest.mark.postgres
def test_a_restart_between_two_writes_is_not_noticed(
    postgresql_server: PostgresqlServer, postgresql_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    journal, _, wait_written = open_begun(postgresql_url)

    postgresql_server.stop()
    postgresql_server.start()
    journal.record(make_receipt("after"))

    assert wait_written()
    assert set(read_ids(journal.reader)) == {"before", "after"}
    journal.close()
    assert caplog.messages == []


@pytest.mark.postgres
@pytest.mark.parametrize(
    "label",
    ["a NUL \0", "".join(random.Random(0).choices(string.ascii_letters, k=9_000))],  # noqa: S311 - not a secret
    ids=["refused_by_the_driver", "too_long_for_an_index"],
)
def test_a_receipt_that_postgresql_refuses_is_lost_alone(postgresql_url: str, label: str) -> None:
    journal, *_ = open_watched(postgresql_url)
    for request_id, given in (("a", "tabby"), ("bad", label), ("b", "tabby")):
        journal.record(make_receipt(request_id, label=given))
    journal.close()

    assert journal.counts() == JournalCounts(waiting=0, written=2, dropped=1)


@pytest.mark.parametrize(
    "vanish",
    [
        pytest.param(Path.unlink, id="file deleted"),
        pytest.param(lambda file: shutil.rmtree(file.parent), id="folder deleted"),
        pytest.param(lambda file: file.parent.rename(file.parent.with_name("moved")), id="folder moved"),
    ],
)
def test_a_missing_sqlite_file_is_created_again(tmp_path: Path, vanish: Callable[[Path], None]) -> None:
    file = tmp_path / "folder" / "journal.sqlite3"
    journal, _, wait_written = open_begun(f"sqlite:///{file}")
    assert set(read_ids(journal.reader)) == {"before"}

    vanish(file)
    journal.record(make_receipt("after"))

    assert wait_written()
    assert set(read_ids(journal.reader)) == {"after"}
    journal.close()
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT request_id FROM receipts").fetchall() == [("after",)]


def test_a_restored_sqlite_backup_is_written_from_then_on(tmp_path: Path) -> None:
    file, backup = tmp_path / "journal.sqlite3", tmp_path / "backup.sqlite3"
    journal, _, wait_written = open_watched(f"sqlite:///{file}")
    journal.record(make_receipt("in backup"))
    assert wait_written()
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)
    journal.record(make_receipt("later", class_id=1, label="goldfish"))
    assert wait_written()

    for name in (file, *tmp_path.glob("journal.sqlite3-*")):
        name.unlink()
    backup.rename(file)
    journal.record(make_receipt("after", class_id=2, label="great white shark"))

    assert wait_written()
    assert set(read_ids(journal.reader)) == {"in backup", "after"}
    assert read_total(journal).top_classes == ((2, "great white shark", 1), (285, "Egyptian cat", 1))
    journal.close()


@contextmanager
def full_disk() -> Iterator[None]:
    """Any write to a file fails in this process."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(("trouble", "reason"), [(full_disk, "disk"), (acting_as_stranger, "belongs to user 0")])
def test_receipts_wait_for_a_sqlite_file_that_cannot_be_written(
    trouble: Callable[[], AbstractContextManager[None]], reason: str
) -> None:
    # pytest's own folders are closed to other users.
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    url = f"sqlite:///{folder / 'journal.sqlite3'}"
    journal, *_ = open_watched(url)
    journal.record(make_receipt("before"))
    journal.close()

    with trouble():
        journal, store, wait_written = open_watched(url)
        journal.record(make_receipt("during"))
        store.wait_for_failure(reason)

    assert wait_written()
    assert set(read_ids(journal.reader)) == {"before", "during"}
    journal.close()
    shutil.rmtree(folder)
