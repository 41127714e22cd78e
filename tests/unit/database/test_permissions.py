"""Explanations of a folder or file that the journal may not write."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from bento_service.database.connections import explain_permissions
from bento_service.errors import JournalUnavailableError
from bento_service.journal.store import SqlJournalStore
from tests.fakes.processes import STRANGER, acting_as_stranger


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user can reach; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture
def stranger() -> Iterator[int]:
    with acting_as_stranger():
        yield STRANGER


def test_a_folder_of_another_user_is_named_with_both_users(folder: Path, stranger: int) -> None:
    said = explain_permissions(folder / "journal.sqlite3")

    assert said == (
        f"The folder {folder} belongs to user 0 (mode 755), while this process runs as user {stranger}, who may not "
        f"write there. Run it as user 0 (`docker run --user`), give the folder to this one (`chown -R {stranger}`), or "
        "set another LIGHTBOX_DATA_DIR."
    )


def test_a_missing_folder_is_named_with_its_parent(folder: Path, stranger: int) -> None:
    said = explain_permissions(folder / "a" / "b" / "journal.sqlite3")

    assert said is not None
    assert said.startswith(f"The folder {folder}/a/b is missing, and {folder} belongs to user 0")


def test_a_file_of_another_user_is_named(folder: Path) -> None:
    file = folder / "journal.sqlite3"
    file.touch(mode=0o600)
    folder.chmod(0o777)
    with acting_as_stranger():
        said = explain_permissions(file)

    assert said is not None
    assert said.startswith(f"The file {file} belongs to user 0")


def test_a_read_only_folder_of_the_user_is_named_with_its_mode(folder: Path) -> None:
    own = folder / "own"
    own.mkdir()
    own.chmod(0o555)
    if os.geteuid() == 0:
        os.chown(own, STRANGER, -1)
    with acting_as_stranger() if os.geteuid() == 0 else nullcontext():
        said = explain_permissions(own / "journal.sqlite3")

    assert said is not None
    assert "its mode is 555, or its file system is read-only" in said


@pytest.mark.parametrize("path", ["journal.sqlite3", "new/journal.sqlite3"])
def test_a_journal_that_cannot_be_opened_says_why(folder: Path, stranger: int, path: str) -> None:
    with pytest.raises(JournalUnavailableError) as refusal:
        SqlJournalStore(f"sqlite:///{folder / path}").migrate()

    assert f"this process runs as user {stranger}" in str(refusal.value)
    assert str(stranger) not in refusal.value.message


def test_a_writable_folder_has_no_explanation(folder: Path) -> None:
    assert explain_permissions(folder / "journal.sqlite3") is None
    assert explain_permissions(folder / "new" / "journal.sqlite3") is None
