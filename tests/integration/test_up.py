"""`lightbox up` from its first line to its last, as a new user meets it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import requests
from playwright.sync_api import expect

from dashboard.gallery import FOLDER
from tests.browser.chromium import open_chromium, open_page
from tests.fakes.processes import is_running
from tests.integration.running_service import STOP_TIMEOUT_S, free_port, make_home, wait_until

pytestmark = pytest.mark.timeout(600)
START_TIMEOUT_S = 180
CAT = re.compile("Egyptian cat|tabby|tiger cat|Persian cat|Siamese cat")


@dataclass(frozen=True)
class RunningUp:
    """`lightbox up`, ready: what it printed, where its servers are, and how long it took from the command on."""

    process: "subprocess.Popen[str]"
    printed: str
    service_url: str
    dashboard_url: str
    ready_after_s: float

    def interrupt(self) -> str:
        """Presses Ctrl-C and returns the rest of what it prints."""
        self.process.send_signal(signal.SIGINT)
        rest, _ = self.process.communicate(timeout=STOP_TIMEOUT_S)
        return rest


def start_up(folder: Path, *, port: int, dashboard_port: int, **environment: str) -> "subprocess.Popen[str]":
    """Start it with one model; its output can be read line by line."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "bento_service.cli.app", "up"),
            *("--port", str(port), "--dashboard-port", str(dashboard_port)),
        ],
        env={
            **os.environ,
            "BENTOML_HOME": str(make_home(folder)),
            "LIGHTBOX_DATA_DIR": str(folder),
            "LIGHTBOX_MODELS": "efficientnet_lite0",
            "PYTHONUNBUFFERED": "1",
            **environment,
        },
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


@contextmanager
def running_up(folder: Path) -> Iterator[RunningUp]:
    """Starts it on free ports, waits until both servers are ready, and stops it at the end if that was not done."""
    port, dashboard_port = free_port(), free_port()
    started_s = time.monotonic()
    process = start_up(folder, port=port, dashboard_port=dashboard_port)
    assert process.stdout is not None
    printed = ""
    for line in process.stdout:
        printed += line
        if "Ctrl-C" in line:
            break
    try:
        assert process.poll() is None, printed
        urls = (f"http://127.0.0.1:{port}", f"http://127.0.0.1:{dashboard_port}")
        yield RunningUp(process, printed, *urls, ready_after_s=time.monotonic() - started_s)
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=STOP_TIMEOUT_S)


@pytest.fixture(scope="module")
def up(bentoml_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningUp]:
    """One that runs until the last test of it interrupts it."""
    with running_up(tmp_path_factory.mktemp("up")) as running:
        yield running


def test_up_starts_both_and_prints_their_addresses(up: RunningUp) -> None:
    print(f"ready {up.ready_after_s:.1f} s after the command, with its models prepared")
    assert f"Dashboard  {up.dashboard_url} " in up.printed
    assert f"Service    {up.service_url} " in up.printed
    assert requests.get(f"{up.service_url}/readyz", timeout=60).status_code == 200
    assert requests.get(up.dashboard_url, timeout=60).status_code == 200


@pytest.mark.browser
def test_a_photograph_becomes_a_chart_and_is_counted(up: RunningUp) -> None:
    with open_chromium() as browser, open_page(browser, up.dashboard_url) as page:
        page.locator("input[type=file]").set_input_files(FOLDER / "chelsea.png")
        expect(page.get_by_role("heading", name=CAT)).to_be_visible()
        best = page.get_by_test_id("stVegaLiteChart").first.locator(".role-axis-label text").filter(has_text=CAT).first
        expect(best).to_be_visible()

        page.get_by_role("link", name="Performance").click()
        counted = page.get_by_test_id("stMetric").filter(has_text="Requests").first
        expect(counted.get_by_test_id("stMetricValue")).to_have_text("1")


def test_ctrl_c_stops_both_and_leaves_nothing_behind(up: RunningUp) -> None:
    started = psutil.Process(up.process.pid).children(recursive=True)

    assert up.interrupt().endswith("Stopped.\n")
    assert up.process.returncode == 0
    assert len(started) >= 3
    wait_until(lambda: not [process for process in started if is_running(process.pid)])


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
