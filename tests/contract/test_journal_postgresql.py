"""Unusual PostgreSQL databases: without an encoding, without the right to create tables."""

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import text

from bento_service.database.connections import Database
from bento_service.errors import JournalUnavailableError
from bento_service.journal.store import SqlJournalStore
from tests.contract.postgresql import PostgresqlServer
from tests.contract.watched_store import WINDOW, execute, open_watched
from tests.unit.journal.receipts import NOW, make_receipt

pytestmark = pytest.mark.postgres


@pytest.fixture
def guest_url(postgresql_url: str) -> Iterator[str]:
    """A database whose user may not create tables."""
    execute(postgresql_url, "CREATE ROLE guest LOGIN", "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    yield postgresql_url.replace("lightbox@", "guest@")
    execute(postgresql_url, "DROP OWNED BY guest; DROP ROLE guest")


def test_a_database_without_an_encoding_keeps_all_text(
    postgresql_server: PostgresqlServer, database_names: Iterator[str]
) -> None:
    options = ("--encoding=SQL_ASCII", "--locale=C", "--template=template0")
    store = SqlJournalStore(postgresql_server.create_database(next(database_names), *options), now=lambda: NOW)
    store.migrate()
    receipt = make_receipt(label="猫, Blässhuhn")

    store.append([receipt])

    assert store.read_receipts(**WINDOW, order="newest", limit=10) == (receipt,)
    assert store.read_history(**WINDOW, buckets=1).total.top_classes == ((285, "猫, Blässhuhn", 1),)
    store.close()


def test_receipts_wait_for_the_right_to_create_tables(
    postgresql_url: str, guest_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    journal, store, wait_written = open_watched(guest_url)
    journal.record(make_receipt())
    store.wait_for_failure("permission denied")
    with pytest.raises(JournalUnavailableError):
        journal.reader.read_history(**WINDOW, buckets=1)
    assert journal.counts().waiting == 1

    execute(postgresql_url, "GRANT CREATE ON SCHEMA public TO guest")

    assert wait_written()
    assert journal.reader.read_receipts(**WINDOW, order="newest", limit=10) == (make_receipt(),)
    assert "Receipts wait in memory: " in caplog.text
    assert "permission denied" in caplog.text
    journal.close()


def test_a_connection_in_use_during_a_failure_is_closed_afterwards(postgresql_url: str) -> None:
    database = Database(postgresql_url)
    with database.reading() as connection:
        driver = connection.connection.dbapi_connection
        assert isinstance(driver, psycopg.Connection)
        with pytest.raises(JournalUnavailableError), database.reading() as other:
            other.execute(text("SELECT * FROM missing"))
        assert not driver.closed
    assert driver.closed
    database.close()


@pytest.mark.parametrize(("asked", "timeout_ms"), [("", 10_000), ("&tcp_user_timeout=3000", 3_000)])
def test_a_lost_server_times_out_in_10_s_or_as_the_url_says(postgresql_url: str, asked: str, timeout_ms: int) -> None:
    database = Database(postgresql_url + asked)
    with database.reading() as connection:
        driver = connection.connection.dbapi_connection
        assert isinstance(driver, psycopg.Connection)
        assert int(driver.info.get_parameters()["tcp_user_timeout"]) == timeout_ms
    database.close()
