"""Where workers meet, among what other containers have in the same memory."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bento_service.worker.workers_folder import join_folder, open_folder, own_folder

JOIN = """
import sys
from pathlib import Path

from bento_service.worker.workers_folder import join_folder

join_folder(Path(sys.argv[1]), {"PROMETHEUS_MULTIPROC_DIR": sys.argv[2]})
print("joined", flush=True)
sys.stdin.read()
"""


@contextmanager
def worker(parent: Path, metrics: Path) -> Iterator[Path]:
    """Gives the folder of a container whose one worker lives as long as the context."""
    argv = [sys.executable, "-c", JOIN, str(parent), str(metrics)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(argv, cwd=Path(__file__).parents[3], **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout.readline() == b"joined\n"
        # As another container's, which has another namespace.
        yield own_folder(parent).rename(parent / f"lightbox-workers-{os.geteuid()}-1{os.getpid()}")
        process.kill()


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    """A folder of series, beside those where workers meet."""
    folder = tmp_path / "tmp0123"
    folder.mkdir()
    (folder / "counter_7.db").touch()
    return folder


def test_it_is_named_by_the_user_and_the_namespace_of_process_ids(tmp_path: Path) -> None:
    namespace = Path("/proc/self/ns/pid").stat().st_ino

    assert own_folder(tmp_path) == tmp_path / f"lightbox-workers-{os.geteuid()}-{namespace}"


def test_what_a_container_that_is_gone_has_left_is_removed_with_its_series(tmp_path: Path, metrics: Path) -> None:
    with worker(tmp_path, metrics):
        """It is killed."""

    open_folder(tmp_path)

    assert list(tmp_path.iterdir()) == [own_folder(tmp_path)]


def test_what_a_container_that_lives_has_is_left_alone(tmp_path: Path, metrics: Path) -> None:
    with worker(tmp_path, metrics) as folder:
        open_folder(tmp_path)

        assert set(tmp_path.iterdir()) == {own_folder(tmp_path), folder, metrics}
        assert list(metrics.iterdir()) == [metrics / "counter_7.db"]


def test_what_its_own_namespace_had_before_it_goes_as_well(tmp_path: Path, metrics: Path) -> None:
    with worker(tmp_path, metrics) as folder:
        folder.rename(own_folder(tmp_path))
        (own_folder(tmp_path) / "7.json").touch()

    open_folder(tmp_path)

    assert not (own_folder(tmp_path) / "7.json").exists()


def test_what_does_not_say_that_it_was_ever_in_use_is_left_alone(tmp_path: Path) -> None:
    begun = tmp_path / f"lightbox-workers-{os.geteuid()}-1"
    begun.mkdir()

    open_folder(tmp_path)

    assert begun.exists()


def test_series_that_lie_elsewhere_are_left_to_bentoml(
    tmp_path: Path, metrics: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    parent = tmp_path_factory.mktemp("shm")
    with worker(parent, metrics):
        """It is killed."""

    open_folder(parent)

    assert list(parent.iterdir()) == [own_folder(parent)]
    assert metrics.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_folder_that_belongs_to_another_user_is_left_alone(tmp_path: Path, metrics: Path) -> None:
    with worker(tmp_path, metrics) as folder:
        """It is killed."""
    os.chown(folder, 65534, 65534)

    open_folder(tmp_path)

    assert folder.exists()
    assert metrics.exists()


def test_a_parent_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    open_folder(tmp_path / "file")
    join_folder(tmp_path / "file", {})
