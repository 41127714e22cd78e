from datetime import timedelta
from pathlib import Path

import pytest

from bento_service.journal.store import migrate
from bento_service.journal.writer import open_journal
from bento_service.settings import Settings
from tests.unit.journal.receipts import NOW, make_receipt


def test_the_default_journal_is_a_file_in_the_data_folder(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "new" / "folder", journal_retention_days=36_500)
    written: list[int] = []
    journal = open_journal(settings, on_written=written.append)
    journal.record(make_receipt())
    journal.close()
    assert (tmp_path / "new" / "folder" / "journal.sqlite3").is_file()
    assert written == [1]

    reopened = open_journal(settings)
    found = reopened.reader.read_receipts(since=NOW, until=NOW + timedelta(hours=1), order="newest", limit=10)
    assert found == (make_receipt(),)
    reopened.close()


def test_the_journal_opens_without_its_database(caplog: pytest.LogCaptureFixture) -> None:
    dropped: list[int] = []
    settings = Settings(journal_url="postgresql://user:secret@127.0.0.1:1/lightbox")
    journal = open_journal(settings, on_dropped=dropped.append)
    journal.record(make_receipt())
    assert journal.counts().waiting == 1
    journal.close(timeout_s=0.01)
    assert dropped == [1]
    assert "secret" not in caplog.text


def test_migrating_does_not_depend_on_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    migrate("sqlite:///100%/journal.sqlite3")
    assert (tmp_path / "100%" / "journal.sqlite3").is_file()
