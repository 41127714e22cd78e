import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bento_service.journal.store import SqlJournalStore
from tests.contract.postgresql import PostgresqlServer, find_programs
from tests.unit.journal.receipts import NOW


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    programs = find_programs()
    if programs is None:
        pytest.skip("no PostgreSQL server programs under /usr/lib/postgresql; `apt-get install postgresql` brings them")
    # pytest's own folders are closed to the other user that PostgreSQL runs as.
    folder = Path(tempfile.mkdtemp(prefix="lightbox-pg-"))
    server = PostgresqlServer(programs, folder)
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def database_names() -> Iterator[str]:
    return (f"journal_{number}" for number in itertools.count())


@pytest.fixture
def postgresql_url(postgresql_server: PostgresqlServer, database_names: Iterator[str]) -> str:
    return postgresql_server.create_database(next(database_names))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def journal_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'folder' / 'journal.sqlite3'}"
    return str(request.getfixturevalue("postgresql_url"))


@pytest.fixture
def store(journal_url: str) -> Iterator[SqlJournalStore]:
    store = SqlJournalStore(journal_url, now=lambda: NOW)
    store.migrate()
    yield store
    store.close()
