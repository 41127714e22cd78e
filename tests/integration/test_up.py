"""`lightbox up` from its first line to its last."""

import os
import shutil
import socket
from pathlib import Path

import psutil
import pytest
import requests

from tests.fakes.processes import is_running
from tests.integration.running_service import STOP_TIMEOUT_S, free_port, wait_until
from tests.integration.running_up import running_up, start_up

pytestmark = pytest.mark.timeout(600)
START_TIMEOUT_S = 180


def test_up_starts_both_prints_their_addresses_and_ctrl_c_leaves_nothing_behind(
    bentoml_home: Path, tmp_path: Path
) -> None:
    with running_up(tmp_path) as up:
        started = psutil.Process(up.process.pid).children(recursive=True)
        service = requests.get(f"{up.service_url}/readyz", timeout=60)
        dashboard = requests.get(up.dashboard_url, timeout=60)
        rest = up.interrupt()

    print(f"ready {up.ready_after_s:.1f} s after the command, with its models prepared")
    assert f"Dashboard  {up.dashboard_url}\n" in up.printed
    assert f"Service    {up.service_url} " in up.printed
    assert (service.status_code, dashboard.status_code) == (200, 200)
    assert rest.endswith("Stopped.\n")
    assert up.process.returncode == 0
    assert len(started) >= 3
    wait_until(lambda: not [process for process in started if is_running(process.pid)])


@pytest.mark.parametrize("variable", ["PORT", "DASHBOARD_PORT"])
def test_up_on_a_taken_port_names_the_variable_that_chooses_another(
    bentoml_home: Path, tmp_path: Path, variable: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken, free = server.getsockname()[1], free_port()
        ports = (taken, free) if variable == "PORT" else (free, taken)
        process = start_up(tmp_path, port=ports[0], dashboard_port=ports[1])
        printed, _ = process.communicate(timeout=START_TIMEOUT_S)

    assert process.returncode == 1
    assert printed.startswith(f"lightbox: port {taken} on 127.0.0.1 is taken by another process")
    assert f"`make up {variable}={taken + 1}`" in printed


def test_up_ends_with_a_service_whose_worker_cannot_load(bentoml_home: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    model = Path("models") / "lightbox-efficientnet_lite0"
    shutil.copytree(bentoml_home / model, home / model)
    [weights] = (home / model).rglob("*.onnx")
    weights.write_bytes(os.urandom(weights.stat().st_size))

    process = start_up(tmp_path, port=free_port(), dashboard_port=free_port(), BENTOML_HOME=str(home))
    printed, _ = process.communicate(timeout=START_TIMEOUT_S + STOP_TIMEOUT_S)

    assert process.returncode == 1
    assert "lightbox: the service ended with exit code 1.\nThe end of " in printed
    assert "This worker cannot serve: " in printed
    assert "No worker gets ready: 3 in a row died before, and the last one ended with exit code 3" in printed
