import errno
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bento_service.domain.service import ServiceState
from bento_service.worker.shared_folder import SERIES, TABLE, StatusTable, create_folder

CREATE = """
import sys
from pathlib import Path
from bento_service.worker.shared_folder import create_folder
print(create_folder(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""
WRITE = """
import sys
from pathlib import Path
from bento_service.domain.service import ServiceState
from bento_service.worker.shared_folder import StatusTable
table = StatusTable.open(Path(sys.argv[1]))
while True:
    table.write(1, ServiceState.DRAINING, is_accepting=True)
"""


def own_folder(parent: Path) -> Path:
    """The folder that this process would make."""
    namespace = Path("/proc/self/ns/pid").stat().st_ino
    return parent / f"lightbox-{os.geteuid()}-{namespace}-{os.getpid()}"


@contextmanager
def other_service(parent: Path) -> Iterator[Path]:
    """Gives the folder of a service that lives as long as the context, and is killed at its end."""
    argv = [sys.executable, "-c", CREATE, str(parent)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Path(process.stdout.readline().strip())
        process.kill()


def test_a_status_is_read_by_another_process_of_the_service(tmp_path: Path) -> None:
    written = StatusTable.create(tmp_path / TABLE, workers=2)
    written.write(2, ServiceState.DRAINING, is_accepting=True)
    read = StatusTable.open(tmp_path / TABLE)
    status = read.read(2)

    assert status is not None
    assert (status.state, status.is_accepting) == (ServiceState.DRAINING, True)
    assert abs(status.renewed_s - time.time()) < 60
    assert read.read(1) is None
    assert read.supervisor_id == os.getpid()


def test_a_worker_reads_the_fresh_statuses_of_others(tmp_path: Path) -> None:
    table = StatusTable.create(tmp_path / TABLE, workers=4)
    for number, state in enumerate((ServiceState.LOADING, ServiceState.READY, ServiceState.DRAINING), 1):
        table.write(number, state, is_accepting=True)
    assert [status.state for status in table.read_others(1)] == [ServiceState.READY, ServiceState.DRAINING]

    table.clear(3)
    file = (tmp_path / TABLE).read_bytes()
    # The time of the second worker's status.
    (tmp_path / TABLE).write_bytes(file[:32] + b"\1" + bytes(7) + file[40:])
    assert StatusTable.open(tmp_path / TABLE).read_others(1) == []


def test_a_folder_stays_while_its_service_runs_and_is_removed_after_a_kill(tmp_path: Path) -> None:
    with other_service(tmp_path) as folder:
        own = create_folder(tmp_path)
        assert set(tmp_path.iterdir()) == {own, folder}
    shutil.rmtree(own)

    assert list(tmp_path.iterdir()) == [folder]
    assert list(tmp_path.iterdir()) != [create_folder(tmp_path)]
    assert not folder.exists()


def test_an_unlocked_folder_of_the_same_name_is_replaced(tmp_path: Path) -> None:
    # A process that was killed right after it had made its folder; in a container the process id is the same.
    left = own_folder(tmp_path)
    left.mkdir()
    (left / "rest").touch()

    assert create_folder(tmp_path) == left
    assert [file.name for file in left.iterdir()] == [SERIES]


def test_what_is_no_folder_is_left_alone(tmp_path: Path) -> None:
    prefix = f"lightbox-{os.geteuid()}-"
    os.mkfifo(tmp_path / f"{prefix}fifo")
    (tmp_path / f"{prefix}file").touch()
    (tmp_path / "kept").mkdir()
    (tmp_path / f"{prefix}link").symlink_to(tmp_path / "kept")
    create_folder(tmp_path)

    assert {f"{prefix}fifo", f"{prefix}file", f"{prefix}link", "kept"} < {each.name for each in tmp_path.iterdir()}


def test_the_folder_of_another_user_is_left_alone_and_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    foreign = own_folder(tmp_path)
    foreign.mkdir()
    other = tmp_path / "lightbox-12345-other"
    other.mkdir()

    with pytest.raises(FileExistsError):
        create_folder(tmp_path)
    assert set(tmp_path.iterdir()) == {foreign, other}


def test_a_folder_removed_before_it_is_locked_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flock, removals = fcntl.flock, [1, 2]

    def remove_then_lock(descriptor: int, operation: int) -> None:
        if removals:
            removals.pop()
            own_folder(tmp_path).rmdir()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", remove_then_lock)
    folder = create_folder(tmp_path)

    assert not removals
    assert (folder / SERIES).is_dir()
    with pytest.raises(BlockingIOError):
        flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_folder_that_cannot_be_filled_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match="No space left"):
        create_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_was_removed_is_restored_and_its_workers_follow(tmp_path: Path) -> None:
    supervisor = StatusTable.create(tmp_path / TABLE, workers=2)
    first = StatusTable.open(tmp_path / TABLE)
    first.write(1, ServiceState.LOADING, is_accepting=True)
    (tmp_path / TABLE).unlink()
    first.write(1, ServiceState.READY, is_accepting=True)
    supervisor.restore()
    restored = supervisor.read(1)
    second = StatusTable.open(tmp_path / TABLE)
    first.write(1, ServiceState.DRAINING, is_accepting=False)

    assert restored is not None
    assert restored.state is ServiceState.READY
    assert [status.state for status in second.read_others(2)] == [ServiceState.DRAINING]
    assert supervisor.read(1) == second.read(1)
    assert second.supervisor_id == os.getpid()


def test_a_status_is_never_read_while_it_is_half_written(tmp_path: Path) -> None:
    table = StatusTable.create(tmp_path / TABLE, workers=1)
    with subprocess.Popen([sys.executable, "-c", WRITE, str(tmp_path / TABLE)]) as writer:
        while table.read(1) is None:
            time.sleep(0.01)
        read = [table.read(1) for _ in range(100_000)]
        writer.kill()

    assert {status and status.state for status in read} == {ServiceState.DRAINING}
