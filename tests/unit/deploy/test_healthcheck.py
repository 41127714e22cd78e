"""The image's health check, on the table that the workers of a service write to."""

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from bento_service.domain.service import ServiceState
from bento_service.worker.shared_folder import MAX_AGE_S, TABLE, StatusTable, create_folder

SCRIPT = Path(__file__).parents[3] / "deploy" / "docker" / "healthcheck.py"


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("healthcheck", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HEALTHCHECK = load_script()


@pytest.fixture
def table(tmp_path: Path) -> StatusTable:
    """Of a service with two workers."""
    return StatusTable.create(tmp_path / TABLE, workers=2)


def find_fault(tmp_path: Path, *, after_s: float = 0.0) -> str:
    fault: str = HEALTHCHECK.find_fault(tmp_path / TABLE, time.time() + after_s)
    return fault


def test_a_service_is_healthy_while_all_its_workers_serve(table: StatusTable, tmp_path: Path) -> None:
    table.write(1, ServiceState.READY, is_accepting=True)
    table.write(2, ServiceState.DRAINING, is_accepting=False)

    assert find_fault(tmp_path) == ""


def test_a_worker_that_loads_is_named(table: StatusTable, tmp_path: Path) -> None:
    table.write(1, ServiceState.READY, is_accepting=True)
    table.write(2, ServiceState.LOADING, is_accepting=True)

    assert find_fault(tmp_path) == "1 of 2 workers serve; worker 2 is loading"


def test_a_worker_that_hangs_is_named_with_since_when(table: StatusTable, tmp_path: Path) -> None:
    table.write(2, ServiceState.READY, is_accepting=True)

    assert find_fault(tmp_path, after_s=MAX_AGE_S + 5.2) == "0 of 2 workers serve; worker 2 hangs for 20 s"


def test_a_worker_that_died_is_missed(table: StatusTable, tmp_path: Path) -> None:
    for number in (1, 2):
        table.write(number, ServiceState.READY, is_accepting=True)
    table.clear(1)

    assert find_fault(tmp_path) == "1 of 2 workers serve"


def run(environment: dict[str, str]) -> tuple[int, str]:
    # As in the image: without site packages, and without Python's variables.
    done = subprocess.run(
        [sys.executable, "-IS", str(SCRIPT)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_its_exit_code_and_line_say_whether_the_service_is_healthy(tmp_path: Path) -> None:
    environment = {"LIGHTBOX_HEARTBEAT_DIR": str(tmp_path)}
    said = [run(environment)]
    table = StatusTable.create(create_folder(tmp_path) / TABLE, workers=1)
    table.write(1, ServiceState.LOADING, is_accepting=True)
    said.append(run(environment))
    table.write(1, ServiceState.READY, is_accepting=True)
    said.append(run(environment))

    assert said == [
        (1, "no worker has started\n"),
        (1, "0 of 1 workers serve; worker 1 is loading\n"),
        (0, "all workers serve\n"),
    ]


@pytest.mark.parametrize("environment", [{}, {"LIGHTBOX_HEARTBEAT_DIR": ""}])
def test_without_a_folder_to_look_in_it_says_so(environment: dict[str, str]) -> None:
    assert run(environment) == (1, "LIGHTBOX_HEARTBEAT_DIR is not set\n")


@pytest.mark.parametrize(("user", "is_found"), [(0, True), (12345, False)])
def test_only_root_finds_the_service_of_another_user(
    user: int, is_found: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1034)
    file = create_folder(tmp_path) / TABLE
    StatusTable.create(file, workers=1)
    monkeypatch.setattr(os, "geteuid", lambda: user)

    assert (HEALTHCHECK.find_table(tmp_path) == file) is is_found
