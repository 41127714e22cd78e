"""Which workers hang, by the heartbeats that they renew or no longer do."""

import json
import os
from pathlib import Path

import pytest

from bento_service.domain.service import ServiceState
from bento_service.worker.hang_detector import HANG_LOOKS, LOADING_LOOKS, HangDetector
from bento_service.worker.heartbeat import Heartbeat

WORKER = 4242


def renew(folder: Path, state: ServiceState = ServiceState.READY) -> None:
    Heartbeat(folder, workers=1, state=lambda: state, worker_id=WORKER).renew()


def look(detector: HangDetector, times: int) -> dict[int, int]:
    found: dict[int, int] = {}
    for _ in range(times):
        found = detector.look([WORKER])
    return found


@pytest.mark.parametrize(
    ("state", "limit"),
    [
        (ServiceState.READY, HANG_LOOKS),
        (ServiceState.DRAINING, HANG_LOOKS),
        (ServiceState.FAILED, HANG_LOOKS),
        (ServiceState.LOADING, LOADING_LOOKS),
    ],
)
def test_a_worker_hangs_after_so_many_looks_without_a_new_heartbeat(
    state: ServiceState, limit: int, tmp_path: Path
) -> None:
    renew(tmp_path, state)
    detector = HangDetector(tmp_path)

    assert look(detector, limit) == {}
    assert look(detector, 1) == {WORKER: limit}


def test_a_new_heartbeat_starts_the_count_again(tmp_path: Path) -> None:
    renew(tmp_path)
    detector = HangDetector(tmp_path)
    look(detector, HANG_LOOKS)
    renew(tmp_path)

    assert look(detector, HANG_LOOKS) == {}


def test_a_clock_that_jumps_makes_no_worker_hang(tmp_path: Path) -> None:
    renew(tmp_path)
    os.utime(tmp_path / f"{WORKER}.json", (0, 0))

    assert look(HangDetector(tmp_path), HANG_LOOKS) == {}


@pytest.mark.parametrize("folder", ["missing", None])
def test_a_worker_without_a_heartbeat_is_not_judged(folder: str | None, tmp_path: Path) -> None:
    detector = HangDetector(tmp_path / folder if folder else None)

    assert look(detector, LOADING_LOOKS + 1) == {}


def test_a_worker_that_can_no_longer_write_its_heartbeat_is_not_judged(tmp_path: Path) -> None:
    renew(tmp_path)
    (tmp_path / f"{WORKER}.new").mkdir()
    detector = HangDetector(tmp_path)
    look(detector, HANG_LOOKS)
    renew(tmp_path)

    assert look(detector, 1) == {}


def test_as_the_service_stops_each_worker_gets_a_few_looks_to_revive(tmp_path: Path) -> None:
    (tmp_path / f"{WORKER}.json").write_text(json.dumps({"state": "ready"}))
    detector = HangDetector(tmp_path)
    look(detector, HANG_LOOKS)
    detector.allow(2, hang_looks=15)

    assert detector.look([WORKER], hang_looks=15) == {}
    assert detector.look([WORKER], hang_looks=15) == {WORKER: 15}
