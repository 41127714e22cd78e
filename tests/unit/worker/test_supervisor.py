import errno
import tempfile
from pathlib import Path

import pytest

from bento_service.settings import Settings
from bento_service.worker.shared_folder import StatusTable
from bento_service.worker.supervisor import Supervisor


def start(heartbeat_dir: Path | None) -> str:
    """What a supervisor says that cannot start."""
    supervisor = Supervisor(
        [], "tcp://127.0.0.1:0", "tcp://127.0.0.1:0", settings=Settings(heartbeat_dir=heartbeat_dir)
    )
    with pytest.raises(SystemExit) as ended:
        supervisor.start()
    return str(ended.value)


def test_no_folder_for_temporary_files_ends_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def find_none() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", find_none)

    assert start(None) == (
        "lightbox: cannot write to a folder for temporary files (LIGHTBOX_HEARTBEAT_DIR): "
        "No usable temporary directory found"
    )


def test_a_full_disk_ends_the_start_with_one_line_and_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(StatusTable, "create", fail)
    monkeypatch.chdir(tmp_path)

    # A relative folder is named in full.
    assert start(Path("shared")) == (
        f"lightbox: cannot write to {tmp_path / 'shared'} (LIGHTBOX_HEARTBEAT_DIR): No space left on device"
    )
    assert list((tmp_path / "shared").iterdir()) == []
