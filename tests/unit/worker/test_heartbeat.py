"""What a worker says of itself, and what it hears of its siblings."""

import asyncio
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bento_service.domain.service import ServiceState
from bento_service.worker.heartbeat import INTERVAL_S, MAX_AGE_S, Beat, Heartbeat, choose_folder
from bento_service.worker.workers_folder import own_folder
from tests.fakes.clock import FakeTimeLoop
from tests.fakes.pipeline import fake_clock
from tests.fakes.processes import dead_process_id, living_process

pytestmark = pytest.mark.anyio

OWN = f"{os.getpid()}.json"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": FakeTimeLoop}


@pytest.fixture
def sibling() -> Iterator[int]:
    """The id of another process, which lives."""
    with living_process() as process_id:
        yield process_id


def make_heartbeat(
    folder: Path | None, *, state: ServiceState = ServiceState.READY, of: int | None = None
) -> Heartbeat:
    return Heartbeat(folder, workers=2, state=lambda: state, worker_id=of)


def read(folder: Path) -> dict[str, object]:
    said: dict[str, object] = json.loads((folder / OWN).read_text())
    return said


async def let_pass(seconds: float) -> None:
    fake_clock().advance(seconds)
    for _ in range(3):
        await asyncio.sleep(0)


async def test_it_is_renewed_with_the_state_of_the_moment_until_it_ends_and_is_taken_away(tmp_path: Path) -> None:
    states = [ServiceState.LOADING]
    heartbeat = Heartbeat(tmp_path / "new" / "folder", workers=2, state=lambda: states[-1])
    keeping = asyncio.create_task(heartbeat.keep())
    await asyncio.sleep(0)
    assert read(tmp_path / "new" / "folder") == {"state": "loading", "workers": 2, "is_accepting": False}

    states.append(ServiceState.READY)
    heartbeat.is_accepting = True
    await let_pass(INTERVAL_S)
    assert read(tmp_path / "new" / "folder") == {"state": "ready", "workers": 2, "is_accepting": True}

    keeping.cancel()
    await asyncio.wait([keeping])
    assert list((tmp_path / "new" / "folder").iterdir()) == []


def test_it_is_replaced_as_a_whole(tmp_path: Path) -> None:
    heartbeat = make_heartbeat(tmp_path)
    heartbeat.renew()

    with (tmp_path / OWN).open() as reader:
        heartbeat.is_accepting = True
        heartbeat.renew()
        begun_before = json.load(reader)

    assert begun_before["is_accepting"] is False
    assert read(tmp_path)["is_accepting"] is True


async def test_where_nothing_can_be_written_that_is_logged_once_and_it_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "workers"
    with caplog.at_level(logging.WARNING, "bento_service"):
        keeping = asyncio.create_task(make_heartbeat(folder).keep())
        await asyncio.sleep(0)
        await let_pass(INTERVAL_S)
        await let_pass(INTERVAL_S)
    assert [record.levelname for record in caplog.records] == ["WARNING"]

    (tmp_path / "file").unlink()
    await let_pass(INTERVAL_S)
    assert read(folder)["state"] == "ready"
    keeping.cancel()
    await asyncio.wait([keeping])


async def test_what_a_full_disk_cut_short_is_taken_away_too(tmp_path: Path) -> None:
    (tmp_path / OWN).mkdir()
    keeping = asyncio.create_task(make_heartbeat(tmp_path).keep())
    await asyncio.sleep(0)
    assert (tmp_path / OWN).with_suffix(".new").exists()

    keeping.cancel()
    await asyncio.wait([keeping])

    assert not (tmp_path / OWN).with_suffix(".new").exists()


def test_a_worker_hears_its_siblings_and_not_itself(tmp_path: Path, sibling: int) -> None:
    own = make_heartbeat(tmp_path)
    other = make_heartbeat(tmp_path, state=ServiceState.DRAINING, of=sibling)
    other.is_accepting = True
    own.renew()
    other.renew()

    assert own.read_others() == [Beat(ServiceState.DRAINING, is_accepting=True)]


def test_a_sibling_that_hangs_is_not_heard(tmp_path: Path, sibling: int) -> None:
    make_heartbeat(tmp_path, of=sibling).renew()
    file = tmp_path / f"{sibling}.json"
    last_s = file.stat().st_mtime - MAX_AGE_S - 1
    os.utime(file, (last_s, last_s))

    assert make_heartbeat(tmp_path).read_others() == []


def test_a_sibling_that_died_is_not_heard(tmp_path: Path) -> None:
    make_heartbeat(tmp_path, of=dead_process_id()).renew()

    assert make_heartbeat(tmp_path).read_others() == []


@pytest.mark.parametrize("said", ["", "{", "[]", "1", "{}", '{"state": "well", "is_accepting": true}', "\0"])
def test_what_cannot_be_understood_does_not_count(tmp_path: Path, sibling: int, said: str) -> None:
    (tmp_path / f"{sibling}.json").write_text(said)

    assert make_heartbeat(tmp_path).read_others() == []


async def test_a_worker_without_others_writes_and_hears_nothing() -> None:
    heartbeat = make_heartbeat(None)
    keeping = asyncio.create_task(heartbeat.keep())
    await asyncio.sleep(0)

    assert heartbeat.read_others() == []
    keeping.cancel()
    await asyncio.wait([keeping])


@pytest.mark.parametrize(
    ("chosen", "environment", "folder"),
    [
        (Path("/chosen"), {"PROMETHEUS_MULTIPROC_DIR": "/shared"}, own_folder(Path("/chosen"))),
        (None, {"PROMETHEUS_MULTIPROC_DIR": "/shared"}, Path("/shared/workers-7")),
        (None, {}, None),
    ],
)
def test_workers_meet_where_the_settings_say_or_with_those_of_their_master_alone(
    chosen: Path | None, environment: dict[str, str], folder: Path | None
) -> None:
    assert choose_folder(chosen, environment, master_id=7) == folder
