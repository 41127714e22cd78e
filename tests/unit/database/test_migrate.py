import subprocess
import sys
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

import bento_service.database
from bento_service.database.migrate import newest_revision
from bento_service.journal.store import SqlJournalStore


def test_the_newest_revision_is_alembics_head() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(bento_service.database.__file__).with_name("migrations")))

    assert newest_revision() == ScriptDirectory.from_config(config).get_current_head()


@pytest.mark.parametrize(("is_migrated", "loads_alembic"), [(False, True), (True, False)])
def test_a_process_loads_alembic_only_where_migrations_are_missing(
    tmp_path: Path, is_migrated: bool, loads_alembic: bool
) -> None:
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
