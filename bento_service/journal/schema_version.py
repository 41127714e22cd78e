"""Brings a database's schema up to date with the Alembic migrations that lie in this package."""

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config

from bento_service.journal.database import Database

_MIGRATIONS = Path(__file__).with_name("migrations")
# Alembic keeps the migration in progress in a module of its own, so one at a time a process.
_ALEMBIC_LOCK = threading.Lock()


def upgrade(database: Database) -> None:
    """Apply the migrations that are missing, all or none; other processes wait meanwhile.

    Raises:
        JournalUnavailableError: The database cannot be reached or written.
    """
    # Found from this file, never from the working directory, so that it works in a wheel and in a bento alike.
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    with _ALEMBIC_LOCK:
        database.prepare()
        with database.writing() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
