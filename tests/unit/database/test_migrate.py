import logging
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.exc import OperationalError

import bento_service.database
from bento_service.database.connections import Database
from bento_service.database.revisions import is_file_current, newest_revision
from bento_service.errors import JournalUnavailableError
from bento_service.journal.store import SqlJournalStore


def test_the_newest_revision_is_alembics_head() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(bento_service.database.__file__).with_name("migrations")))

    assert newest_revision() == ScriptDirectory.from_config(config).get_current_head()


@pytest.mark.parametrize(("is_migrated", "loads_alembic"), [(False, True), (True, False)])
def test_alembic_is_loaded_only_for_missing_migrations(tmp_path: Path, is_migrated: bool, loads_alembic: bool) -> None:
    url = f"sqlite:///{tmp_path / 'journal.sqlite3'}"
    if is_migrated:
        store = SqlJournalStore(url)
        store.migrate()
        store.close()
    script = (
        "import sys; from bento_service.journal.store import SqlJournalStore; "
        f"SqlJournalStore({url!r}).migrate(); print('alembic' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == str(loads_alembic)


def fail(store: SqlJournalStore) -> str:
    with pytest.raises(JournalUnavailableError) as refusal:
        store.migrate()
    return str(refusal.value)


def test_a_defect_of_a_migration_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def upgrade(database: Database) -> None:
        raise KeyError("x")

    store = SqlJournalStore(f"sqlite:///{tmp_path / 'journal.sqlite3'}", upgrade=upgrade)
    with caplog.at_level(logging.ERROR):
        said = [fail(store), fail(store)]

    assert "cannot be used: KeyError: 'x'" in said[0]
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is KeyError


def test_an_error_of_the_database_is_not_logged_as_a_defect(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def upgrade(database: Database) -> None:
        raise OperationalError("CREATE TABLE receipts", {}, RuntimeError("permission denied for schema public"))

    said = fail(SqlJournalStore(f"sqlite:///{tmp_path / 'journal.sqlite3'}", upgrade=upgrade))

    assert "cannot be used: permission denied for schema public. Check the database" in said
    assert caplog.records == []


@pytest.mark.parametrize(
    ("path", "complaint"), [("file", "not a database"), ("file/journal.sqlite3", "Check the database")]
)
def test_a_path_that_cannot_be_used_is_unavailable(tmp_path: Path, path: str, complaint: str) -> None:
    (tmp_path / "file").write_bytes(b"no database at all " * 100)

    assert complaint in fail(SqlJournalStore(f"sqlite:///{tmp_path / path}"))


def test_a_file_is_current_once_it_is_migrated(tmp_path: Path) -> None:
    file = tmp_path / "jour nal?.sqlite3"
    assert not is_file_current(file)
    file.touch()
    assert not is_file_current(file)
    file.unlink()
    store = SqlJournalStore(f"sqlite:///{tmp_path / 'journal.sqlite3'}")
    store.migrate()
    store.close()
    (tmp_path / "journal.sqlite3").rename(file)
    assert is_file_current(file)
