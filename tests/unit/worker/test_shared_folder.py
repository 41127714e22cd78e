import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bento_service.domain.service import ServiceState
from bento_service.worker.shared_folder import TABLE, StatusTable, create_folder

CREATE = """
import sys
from pathlib import Path
from bento_service.worker.shared_folder import create_folder
print(create_folder(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


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


def test_a_worker_reads_the_others_and_neither_itself_nor_those_that_died_or_hang(tmp_path: Path) -> None:
    table = StatusTable.create(tmp_path / TABLE, workers=4)
    for number, state in enumerate((ServiceState.LOADING, ServiceState.READY, ServiceState.DRAINING), 1):
        table.write(number, state, is_accepting=True)
    assert [status.state for status in table.read_others(1)] == [ServiceState.READY, ServiceState.DRAINING]

    table.clear(3)
    file = (tmp_path / TABLE).read_bytes()
    # The time of the second worker's status.
    (tmp_path / TABLE).write_bytes(file[:32] + b"\1" + bytes(7) + file[40:])
    assert StatusTable.open(tmp_path / TABLE).read_others(1) == []


def test_the_folder_of_a_service_that_was_killed_is_removed(tmp_path: Path) -> None:
    with other_service(tmp_path) as folder:
        assert folder.is_dir()

    assert list(tmp_path.iterdir()) == [folder]
    assert list(tmp_path.iterdir()) != [create_folder(tmp_path)]
    assert not folder.exists()


def test_the_folder_of_a_service_that_runs_is_left_alone(tmp_path: Path) -> None:
    with other_service(tmp_path) as folder:
        own = create_folder(tmp_path)

        assert set(tmp_path.iterdir()) == {own, folder}


def test_a_folder_without_a_lock_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / f"lightbox-{os.geteuid()}-backup"
    other.mkdir()
    create_folder(tmp_path)

    assert other.exists()
