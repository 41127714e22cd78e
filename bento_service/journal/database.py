"""Connections to the journal's database: SQLite or PostgreSQL, reading or writing, and what their errors mean."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, make_url, select
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from bento_service.errors import JournalUnavailableError, JournalUrlError
from bento_service.journal.access import find_obstacle

_LOCK_TIMEOUT_S = 5
_CONNECT_TIMEOUT_S = 5
_RETRY_AFTER_S = 5.0
# Any number does, as long as every Lightbox that shares a PostgreSQL database takes the same: "lightbox" in ASCII.
_WRITER_LOCK_KEY = 0x6C69676874626F78
_WRITES = "lightbox_writes"


def parse_url(url: str) -> URL:
    """Return the SQLAlchemy URL of a journal.

    `postgresql://` and `postgres://` mean psycopg 3, the driver that Lightbox brings.

    Raises:
        JournalUrlError: It is no URL, not SQLite or PostgreSQL, or SQLite in memory, which processes cannot share.
    """
    allowed = "Give `sqlite:///<path>` or `postgresql://<user>:<password>@<host>/<database>`."
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # Neither the text nor its cause goes into the message: it may hold a password.
        raise JournalUrlError(f"The journal's URL cannot be read. {allowed}") from None
    if parsed.drivername in {"postgresql", "postgres", "postgresql+psycopg"}:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in {"sqlite", "sqlite+pysqlite"}:
        raise JournalUrlError(f"The journal's URL begins with {parsed.drivername!r}. {allowed}")
    if not parsed.database or parsed.database == ":memory:":
        raise JournalUrlError(f"The journal's URL names no file: a journal in memory cannot be shared. {allowed}")
    return parsed


class Database:
    """A pool of connections to one database. Safe to share between threads.

    Every method that talks to the database raises JournalUnavailableError where a later try may succeed (server down,
    disk full, file locked) and SQLAlchemy's own error where it cannot (a value that the database does not take).
    """

    def __init__(self, url: str) -> None:
        parsed = parse_url(url)
        self.name = parsed.render_as_string(hide_password=True)
        self._is_sqlite = parsed.get_backend_name() == "sqlite"
        self._file = Path(parsed.database) if self._is_sqlite and parsed.database else None
        self._engine = _create_sqlite_engine(parsed) if self._is_sqlite else _create_postgresql_engine(parsed)
        self._writing_engine = self._engine.execution_options(**{_WRITES: True})

    @property
    def is_sqlite(self) -> bool:
        """Whether this is SQLite rather than PostgreSQL."""
        return self._is_sqlite

    def prepare(self) -> None:
        """Create the SQLite file and its folder, and switch it to write-ahead logging, which the file remembers."""
        if self._file is None:
            return
        with self._translating():
            self._file.parent.mkdir(parents=True, exist_ok=True)
            connection = self._engine.raw_connection()
            try:
                connection.cursor().execute("PRAGMA journal_mode=WAL")
            finally:
                connection.close()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that only reads; it never waits for a writer."""
        with self._translating(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open the one transaction that may write at a time, across all processes; commit it on leaving.

        One writer at a time is what makes reading, merging and writing a rollup atomic. It costs little: a worker
        writes for some milliseconds, once a second.
        """
        with self._translating(), self._writing_engine.begin() as connection:
            if not self._is_sqlite:
                connection.execute(select(func.pg_advisory_xact_lock(_WRITER_LOCK_KEY)))
            yield connection

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def explain(self, error: Exception) -> JournalUnavailableError:
        """Return what to raise where an error keeps the journal from being used, but may pass."""
        cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        said = str(cause).strip() if is_expected(error) else f"{type(cause).__name__}: {cause}"
        advice = self._find_obstacle(cause) or "Check the database, then try again."
        diagnosis = f"The journal at {self.name} cannot be used: {said}. {advice}"
        return JournalUnavailableError(diagnosis, retry_after_s=_RETRY_AFTER_S)

    def _find_obstacle(self, cause: BaseException) -> str | None:
        if self._file is None or not isinstance(cause, OSError | sqlite3.OperationalError):
            return None
        return find_obstacle(self._file)

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except (DataError, IntegrityError, ProgrammingError):
            raise
        except (DBAPIError, PoolTimeoutError, OSError, sqlite3.Error) as error:
            raise self.explain(error) from error


def is_expected(error: Exception) -> bool:
    """Return whether an error is one of a database or of a file system; any other is a defect."""
    return isinstance(error, SQLAlchemyError | sqlite3.Error | OSError)


def concerns_schema(error: Exception) -> bool:
    """Return whether PostgreSQL misses a table or column, or a right to it: whatever the values, the next may pass."""
    # Class 42, "Syntax Error or Access Rule Violation" (postgresql.org, appendix "PostgreSQL Error Codes").
    return isinstance(error, DBAPIError) and (getattr(error.orig, "sqlstate", None) or "").startswith("42")


def _create_sqlite_engine(url: URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": _LOCK_TIMEOUT_S})

    # sqlite3's own transactions begin only at the first write, too late for a read that the write depends on; so they
    # are switched off and begun here (docs.sqlalchemy.org, "Enabling Non-Legacy SQLite Transactional Modes").
    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        # In WAL mode, NORMAL never corrupts; a power cut may cost the last commits (sqlite.org/pragma.html).
        connection.execute("PRAGMA synchronous=NORMAL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        is_writing = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")

    return engine


def _create_postgresql_engine(url: URL) -> Engine:
    defaults = {"connect_timeout": str(_CONNECT_TIMEOUT_S), "application_name": "lightbox"}
    url = url.update_query_dict({name: value for name, value in defaults.items() if name not in url.query})
    # Whatever the database's own encoding: from one without (SQL_ASCII) the driver would return bytes for text.
    url = url.update_query_dict({"client_encoding": "utf8"})
    # Small: a worker has one writer and a few readers, and a server's connections are shared by all workers.
    return create_engine(url, pool_pre_ping=True, pool_size=2, max_overflow=4, pool_timeout=10)
