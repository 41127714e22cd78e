"""Brings a database's schema up to date with the Alembic migrations of this package."""

import threading

from sqlalchemy import Connection, column, inspect, select, table, update

from bento_service.database import tables
from bento_service.database.connections import Database
from bento_service.database.revisions import MIGRATIONS, list_revisions, newest_revision
from bento_service.errors import JournalTooNewError

_VERSIONS = table("alembic_version", column("version_num"))
# Alembic keeps the running migration in a global, so a process runs one at a time.
_ALEMBIC_LOCK = threading.Lock()
_RETRY_AFTER_S = 60.0  # an operator has to act first


def upgrade(database: Database) -> None:
    """Apply all missing migrations or none, and create dropped tables; other processes wait.

    Raises:
        JournalTooNewError: A newer Lightbox has migrated the database.
        JournalUnavailableError: The database cannot be reached or written.
    """
    database.prepare()
    if check_revision(database) != newest_revision():
        _migrate(database)
    elif _lacks_tables(database):
        with database.writing() as connection:
            _restore_tables(connection)


def check_revision(database: Database) -> str | None:
    """Return the revision that the database is at, or None for an empty one.

    Raises:
        JournalTooNewError: It is none of this Lightbox's.
        JournalUnavailableError: The database cannot be reached.
    """
    with database.reading() as connection:
        has_revision = inspect(connection).has_table(_VERSIONS.name)
        revision: str | None = connection.scalar(select(_VERSIONS.c.version_num)) if has_revision else None
    if revision is not None and revision not in list_revisions():
        raise JournalTooNewError(
            f"The journal at {database.name} was written by a newer Lightbox (its schema is {revision}, the newest "
            f"known here {newest_revision()}). Use that version, restore a backup from before it, or set another "
            "LIGHTBOX_JOURNAL_URL.",
            retry_after_s=_RETRY_AFTER_S,
        )
    return revision


def _lacks_tables(database: Database) -> bool:
    with database.reading() as connection:
        return not tables.metadata.tables.keys() <= set(inspect(connection).get_table_names())


def _restore_tables(connection: Connection) -> None:
    """Create the dropped tables, empty. A contract test compares them with the migrations."""
    has_classes = inspect(connection).has_table(tables.classes.name)
    tables.metadata.create_all(connection)
    if not has_classes:
        # The keys start again at 1: older rollups' counts would get other classes' names.
        connection.execute(update(tables.rollups).values(classes=b""))


def _migrate(database: Database) -> None:
    # Alembic takes 9 MB, which a worker with an up-to-date schema does not need.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    # An absolute path, so that it works in a wheel and in a bento alike.
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        with _ALEMBIC_LOCK, database.writing() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError:
        # A newer Lightbox may have migrated it while this one waited for the lock.
        check_revision(database)
        raise
