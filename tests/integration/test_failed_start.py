"""What BentoML's own command says of settings that no worker could start with."""

import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from bento_service.journal.store import migrate
from tests.integration.running_service import BENTOML_SERVE, free_port, make_home


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {"ENGINE": "openvino", "DEVICE": "cuda"},
            "lightbox: The engine `openvino` runs on CPUs, and the device is set to `cuda`.",
        ),
        (
            {"JOURNAL_URL": "postgresql://lightbox:s3cret@db/x", "DEFAULT_MODEL": "nothing"},
            "lightbox: LIGHTBOX_DEFAULT_MODEL is 'nothing', which is not among LIGHTBOX_MODELS",
        ),
    ],
    ids=["engine", "model"],
)
def test_it_ends_at_once_with_one_line_and_no_secret(
    settings: dict[str, str], line: str, bentoml_home: Path, tmp_path: Path
) -> None:
    done = start(settings, tmp_path)

    assert done.returncode == 1
    assert done.stderr.startswith(line)
    assert "Traceback" not in done.stderr
    assert "s3cret" not in done.stdout + done.stderr


def test_a_newer_journal_and_an_unknown_variable_are_a_line_each(bentoml_home: Path, tmp_path: Path) -> None:
    journal = tmp_path / "journal.sqlite3"
    migrate(f"sqlite:///{journal}")
    with closing(sqlite3.connect(journal)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")

    done = start({"MAX_ROWS": "1", "NAMES_CHECKED": ""}, tmp_path)

    assert done.returncode == 1
    said = (done.stdout + done.stderr).splitlines()
    assert [line.partition("LIGHTBOX_MAX_ROWS")[1:] for line in said if "has no effect" in line] == [
        (
            "LIGHTBOX_MAX_ROWS",
            " has no effect: Lightbox reads no variable of that name. Did you mean LIGHTBOX_JOURNAL_MAX_ROWS?",
        )
    ]
    assert sum(line.startswith("lightbox: ") for line in said) == 1
    assert f"lightbox: The journal at sqlite:///{journal} was written by a newer Lightbox" in done.stderr
    assert "Traceback" not in done.stderr


def start(settings: dict[str, str], data_dir: Path) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"LIGHTBOX_DATA_DIR": str(data_dir), "LIGHTBOX_PORT": str(free_port())}
    environment["BENTOML_HOME"] = str(make_home(data_dir))
    environment |= {f"LIGHTBOX_{name}": value for name, value in settings.items()}
    return subprocess.run(
        BENTOML_SERVE, env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
