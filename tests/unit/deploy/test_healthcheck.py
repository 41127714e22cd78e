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
LOADING, READY, DRAINING = ServiceState


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("healthcheck", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HEALTHCHECK = load_script()


@pytest.mark.parametrize(
    ("states", "after_s", "fault"),
    [
        ([READY, DRAINING], 0.0, ""),
        ([READY, LOADING], 0.0, "1 of 2 workers serve; worker 2 is loading"),
        ([None, READY], MAX_AGE_S + 5.2, "0 of 2 workers serve; worker 2 hangs for 20 s"),
        ([None, READY], 0.0, "1 of 2 workers serve"),
    ],
    ids=["healthy", "one loads", "one hangs", "one died"],
)
def test_every_worker_has_to_serve(
    states: list[ServiceState | None], after_s: float, fault: str, tmp_path: Path
) -> None:
    table = StatusTable.create(tmp_path / TABLE, workers=2)
    for worker, state in enumerate(states, 1):
        table.write(worker, state or READY, is_accepting=state is not DRAINING)
        if state is None:
            table.clear(worker)

    assert HEALTHCHECK.find_fault(tmp_path / TABLE, time.time() + after_s) == fault


def run(environment: dict[str, str]) -> tuple[int, str]:
    # As in the image: without site packages, and without Python's variables.
    command = [sys.executable, "-IS", str(SCRIPT)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_exit_code_and_line_say_whether_the_service_is_healthy(tmp_path: Path) -> None:
    environment = {"LIGHTBOX_HEARTBEAT_DIR": str(tmp_path)}
    said = [run(environment)]
    table = StatusTable.create(create_folder(tmp_path) / TABLE, workers=1)
    table.write(1, READY, is_accepting=True)
    said.append(run(environment))

    assert said == [(1, "no worker has started\n"), (0, "all workers serve\n")]


@pytest.mark.parametrize("environment", [{}, {"LIGHTBOX_HEARTBEAT_DIR": ""}])
def test_a_missing_folder_is_named(environment: dict[str, str]) -> None:
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
