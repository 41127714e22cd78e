"""Connections to a SQLite or PostgreSQL database, for reading or writing, and what their errors mean."""

import logging
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, select
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry

from bento_service.database.url import describe_url, parse_url
from bento_service.errors import JournalUnavailableError

_LOCK_TIMEOUT_S = 5
_WRITE_IN = os.W_OK | os.X_OK
_RETRY_AFTER_S = 5.0
_POSTGRESQL_DEFAULTS = {
    "application_name": "lightbox",
    "connect_timeout": "5",
    # A machine that no longer answers, as after a fail-over, is given up after 10 s; the kernel would take 15 minutes.
    "tcp_user_timeout": "10000",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "2",
}
# "lightbox" in ASCII: the same number for every Lightbox that shares a PostgreSQL database.
_WRITER_LOCK_KEY = 0x6C69676874626F78
_WRITES = "lightbox_writes"
_GENERATION = "lightbox_generation"
# "Data Exception", "Integrity Constraint Violation" and "Program Limit Exceeded", as of a value too long for an index
# (postgresql.org, appendix "PostgreSQL Error Codes").
_VALUES_AT_FAULT = frozenset({"22", "23", "54"})


class Database:
    """A pool of connections to one database. Thread-safe.

    Methods that talk to the database raise JournalUnavailableError if a later try may succeed (server down, read-only
    or without our tables, disk full, file locked) and SQLAlchemy's own error if the values are at fault. After a
    JournalUnavailableError no connection is used again: one that became read-only would stay read-only.
    """

    def __init__(self, url: str) -> None:
        parsed = parse_url(url)
        self.name = describe_url(parsed)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self._file = Path(parsed.database) if self.is_sqlite and parsed.database else None
        self._opened_file: tuple[int, int] | None = None
        self._engine = _create_sqlite_engine(parsed) if self.is_sqlite else _create_postgresql_engine(parsed)
        self._writing_engine = self._engine.execution_options(**{_WRITES: True})
        self._generation = 0
        event.listen(self._engine, "connect", self._mark_connection)
        event.listen(self._engine, "checkin", self._close_old_connection)

    def prepare(self) -> None:
        """Create the SQLite file and its folder, and switch the file to write-ahead logging for good."""
        if self._file is None:
            return
        with self._translating():
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._follow_file()
            connection = self._engine.raw_connection()
            try:
                connection.cursor().execute("PRAGMA journal_mode=WAL")
            finally:
                connection.close()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that only reads and never waits for a writer."""
        with self._connecting(self._engine) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that may write, one at a time across all processes; commit it at the end.

        So reading, merging and writing a rollup is atomic. It costs little: a worker writes for some milliseconds, once
        a second.
        """
        with self._connecting(self._writing_engine) as connection:
            if not self.is_sqlite:
                connection.execute(select(func.pg_advisory_xact_lock(_WRITER_LOCK_KEY)))
            yield connection

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def explain(self, error: Exception) -> JournalUnavailableError:
        """Return the one-line error to raise for a failure that may pass."""
        cause = _find_cause(error)
        said = describe_cause(error) if is_expected(error) else f"{type(cause).__name__}: {describe_cause(error)}"
        advice = "Check the database, then try again."
        if self._file is not None and isinstance(cause, OSError | sqlite3.OperationalError):
            advice = explain_permissions(self._file) or advice
        diagnosis = f"The journal at {self.name} cannot be used: {said}. {advice}"
        return JournalUnavailableError(diagnosis, retry_after_s=_RETRY_AFTER_S)

    @contextmanager
    def _connecting(self, engine: Engine) -> Iterator[Connection]:
        with self._translating():
            self._follow_file()
            with engine.begin() as connection:
                yield connection

    def _follow_file(self) -> None:
        """Reconnect if the SQLite file was deleted or replaced: SQLite would go on writing to the old one."""
        if self._file is None:
            return
        identity = None
        with suppress(OSError):
            found = self._file.stat()
            identity = (found.st_dev, found.st_ino)
        if identity is None or identity != self._opened_file:
            self._leave_connections()
            self._opened_file = identity

    def _leave_connections(self) -> None:
        """Close the pool's connections now, and those in use once they are returned.

        SQLAlchemy would keep the latter, and one open connection keeps SQLite's files read-only for the whole process.
        """
        self._generation += 1
        self._engine.dispose()

    def _mark_connection(self, _connection: object, record: ConnectionPoolEntry) -> None:
        record.info[_GENERATION] = self._generation

    def _close_old_connection(self, _connection: object, record: ConnectionPoolEntry) -> None:
        if record.info.get(_GENERATION) != self._generation:
            record.invalidate()

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, PoolTimeoutError, OSError, sqlite3.Error) as error:
            if _blames_values(error):
                raise
            self._leave_connections()
            raise self.explain(error) from error


def describe_cause(error: Exception) -> str:
    """Return the database's message in one line, without the statement and its values."""
    return " ".join(str(_find_cause(error)).split()).rstrip(".?")


def is_expected(error: Exception) -> bool:
    """Return whether an error is one of a database or of a file system; any other is a defect."""
    return isinstance(error, SQLAlchemyError | sqlite3.Error | OSError)


def _find_cause(error: Exception) -> BaseException:
    """Return the driver's own error, or this one if no driver raised it."""
    return error.orig if isinstance(error, StatementError) and error.orig is not None else error


def _blames_values(error: Exception) -> bool:
    """Return whether a statement's values are at fault, so that a retry would fail too."""
    if not isinstance(error, DBAPIError) or error.statement is None:
        return False
    if sqlstate := getattr(error.orig, "sqlstate", None):
        return sqlstate[:2] in _VALUES_AT_FAULT
    return isinstance(error, DataError | IntegrityError | ProgrammingError)


def concerns_schema(error: BaseException | None) -> bool:
    """Return whether a table or column, or a right to it, is missing."""
    if not isinstance(error, DBAPIError):
        return False
    if isinstance(error.orig, sqlite3.OperationalError):
        return error.orig.sqlite_errorcode == sqlite3.SQLITE_ERROR
    # Class 42, "Syntax Error or Access Rule Violation".
    return (getattr(error.orig, "sqlstate", None) or "").startswith("42")


def explain_permissions(file: Path) -> str | None:
    """Return why this process may not write a SQLite file, and what to do; None where permissions do not explain it.

    SQLite itself says only that it cannot open the file. It makes files beside its own, so the folder counts too.
    """
    folder = file.parent
    with suppress(OSError):  # a folder that this process may not even list
        if not folder.is_dir():
            existing = next(parent for parent in folder.parents if parent.is_dir())
            return None if _may(existing, _WRITE_IN) else f"The folder {folder} is missing, and {_describe(existing)}"
        if not _may(folder, _WRITE_IN):
            return f"The folder {_describe(folder)}"
        if file.exists() and not _may(file, os.R_OK | os.W_OK):
            return f"The file {_describe(file)}"
    return None


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _describe(path: Path) -> str:
    found = path.stat()
    user = os.geteuid()
    mode = f"{stat.S_IMODE(found.st_mode):03o}"
    if found.st_uid == user:
        return (
            f"{path} is not writable, though it belongs to this process's user {user}: its mode is {mode}, "
            "or its file system is read-only. Change that, or set another LIGHTBOX_DATA_DIR."
        )
    return (
        f"{path} belongs to user {found.st_uid} (mode {mode}), while this process runs as user {user}, who "
        f"may not write there. Run it as user {found.st_uid} (`docker run --user`), give the folder to this one "
        f"(`chown -R {user}`), or set another LIGHTBOX_DATA_DIR."
    )


def _create_sqlite_engine(url: URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": _LOCK_TIMEOUT_S})

    # sqlite3's own transactions begin at the first write, too late for a read that the write depends on, so they are
    # switched off (docs.sqlalchemy.org, "Enabling Non-Legacy SQLite Transactional Modes").
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
    # From a database without an encoding (SQL_ASCII) the driver would otherwise return bytes for text.
    url = url.update_query_dict({**_POSTGRESQL_DEFAULTS, **url.query, "client_encoding": "utf8"})
    # Its warnings are raised as errors too, which are logged once.
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    # Small: a worker has one writer and a few readers, and a server's connections are shared by all workers.
    return create_engine(url, pool_pre_ping=True, pool_size=2, max_overflow=4, pool_timeout=10)
