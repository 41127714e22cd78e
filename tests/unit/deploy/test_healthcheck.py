"""The image's health check, on heartbeats of processes that live and of some that do not."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import pytest

from bento_service.domain.service import ServiceState
from bento_service.worker.heartbeat import MAX_AGE_S, Heartbeat
from bento_service.worker.workers_folder import own_folder
from tests.fakes.processes import dead_process_id, living_process

SCRIPT = Path(__file__).parents[3] / "deploy" / "docker" / "healthcheck.py"
NOW_S = 1_800_000_000.0

StartWorker = Callable[[], int]


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("healthcheck", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HEALTHCHECK = load_script()


@pytest.fixture
def start_worker() -> Iterator[StartWorker]:
    """Starts processes that live as long as the test, and gives their ids."""
    with ExitStack() as running:

        def start() -> int:
            return running.enter_context(living_process())

        yield start


def say(folder: Path, worker: int, state: str, *, workers: int = 2, age_s: float = 1.0) -> None:
    file = folder / f"{worker}.json"
    file.write_text(json.dumps({"state": state, "workers": workers}))
    os.utime(file, (NOW_S - age_s, NOW_S - age_s))


def find_fault(folder: Path) -> str:
    fault: str = HEALTHCHECK.find_fault(folder, NOW_S)
    return fault


def test_enough_workers_that_serve_are_well(tmp_path: Path, start_worker: StartWorker) -> None:
    say(tmp_path, start_worker(), "ready")
    say(tmp_path, start_worker(), "draining")

    assert find_fault(tmp_path) == ""


def test_what_a_killed_worker_left_behind_does_not_matter_once_another_took_its_place(
    tmp_path: Path, start_worker: StartWorker
) -> None:
    say(tmp_path, dead_process_id(), "failed", age_s=3600)
    say(tmp_path, start_worker(), "ready")
    say(tmp_path, start_worker(), "ready")

    assert find_fault(tmp_path) == ""


def test_a_worker_that_died_is_missed_however_fresh_its_heartbeat(tmp_path: Path, start_worker: StartWorker) -> None:
    say(tmp_path, dead_process_id(), "ready", age_s=0)
    say(tmp_path, start_worker(), "ready")

    assert find_fault(tmp_path) == "1 of 2 workers serve"


def test_a_worker_that_hangs_is_named_with_since_when(tmp_path: Path, start_worker: StartWorker) -> None:
    hanging = start_worker()
    say(tmp_path, hanging, "ready", age_s=HEALTHCHECK.MAX_AGE_S + 5)
    say(tmp_path, start_worker(), "ready")

    assert find_fault(tmp_path) == f"1 of 2 workers serve; worker {hanging} hangs for 20 s"


@pytest.mark.parametrize("state", ["loading", "failed"])
def test_a_worker_that_does_not_serve_is_named_with_its_state(
    tmp_path: Path, start_worker: StartWorker, state: str
) -> None:
    worker = start_worker()
    say(tmp_path, worker, state, workers=1)

    assert find_fault(tmp_path) == f"0 of 1 workers serve; worker {worker} is {state}"


@pytest.mark.parametrize("folder", ["", "missing"])
def test_a_container_in_which_no_worker_was_heard_is_not_well(tmp_path: Path, folder: str) -> None:
    assert find_fault(tmp_path / folder) == "0 of 1 workers serve"


@pytest.mark.parametrize("said", ["", "{", "[]", "1", "{}", '{"state": "ready"}', '{"state": "ready", "workers": "x"}'])
def test_a_heartbeat_that_cannot_be_read_is_a_fault_and_no_crash(
    tmp_path: Path, start_worker: StartWorker, said: str
) -> None:
    garbled = start_worker()
    (tmp_path / f"{garbled}.json").write_text(said)

    assert find_fault(tmp_path) == f"0 of 1 workers serve; what worker {garbled} says cannot be read"


def test_files_that_are_no_workers_are_left_alone(tmp_path: Path, start_worker: StartWorker) -> None:
    (tmp_path / "version.json").write_text("{}")
    (tmp_path / "self.json").write_text("{}")
    say(tmp_path, start_worker(), "ready", workers=1)

    assert find_fault(tmp_path) == ""


def test_it_looks_where_the_workers_of_its_container_meet(tmp_path: Path) -> None:
    assert HEALTHCHECK.own_folder(tmp_path) == own_folder(tmp_path)


def test_it_counts_on_a_worker_as_long_as_its_siblings_do() -> None:
    assert HEALTHCHECK.MAX_AGE_S == MAX_AGE_S


def run(environment: dict[str, str]) -> tuple[int, str]:
    # As in the image: without site packages, and deaf to Python's variables.
    done = subprocess.run(
        [sys.executable, "-IS", str(SCRIPT)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_its_exit_code_tells_what_workers_really_say(tmp_path: Path) -> None:
    states = [ServiceState.LOADING]
    heartbeat = Heartbeat(own_folder(tmp_path), workers=1, state=lambda: states[-1])
    heartbeat.renew()
    environment = {"LIGHTBOX_HEARTBEAT_DIR": str(tmp_path)}
    assert run(environment) == (1, f"0 of 1 workers serve; worker {os.getpid()} is loading\n")

    states.append(ServiceState.READY)
    heartbeat.renew()
    assert run(environment) == (0, "all workers serve\n")


@pytest.mark.parametrize("environment", [{}, {"LIGHTBOX_HEARTBEAT_DIR": ""}])
def test_it_says_where_it_was_not_told_where_to_look(environment: dict[str, str]) -> None:
    assert run(environment) == (1, "LIGHTBOX_HEARTBEAT_DIR is not set: no worker can be heard\n")


@pytest.mark.parametrize(("user", "is_found"), [(0, True), (12345, False)])
def test_root_asks_for_the_workers_of_another_user_and_nobody_else_does(
    user: int, is_found: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1034)
    folder = own_folder(tmp_path)
    folder.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: user)

    assert (HEALTHCHECK.own_folder(tmp_path) == folder) is is_found
