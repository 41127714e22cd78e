"""A real browser on a real dashboard process. `service_url` says which service they talk to."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

import dashboard
from tests.browser.chromium import open_chromium, open_page
from tests.fakes.service import FakeService

APP = Path(dashboard.__file__).parent / "app.py"
START_TIMEOUT_S = 180
STOP_TIMEOUT_S = 10


@pytest.fixture(scope="module")
def service() -> Iterator[FakeService]:
    with FakeService() as fake:
        yield fake


@pytest.fixture(scope="module")
def service_url(service: FakeService) -> str:
    """The address of the service that the dashboard is to use; override it to test against another one."""
    return service.url


@pytest.fixture(scope="module")
def dashboard_url(service_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A dashboard process that the tests of a module share, started away from the repository as an operator may."""
    folder = tmp_path_factory.mktemp("dashboard")
    port = _free_port()
    command = [sys.executable, "-m", "streamlit", "run", str(APP), "--server.port", str(port)]
    path = os.pathsep.join([str(APP.parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"LIGHTBOX_URL": service_url, "PYTHONPATH": path}
    with (folder / "dashboard.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait_until_healthy(process, f"http://127.0.0.1:{port}/_stcore/health")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT_S)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium a module: as long as it is open Playwright keeps an event loop running, which breaks async tests."""
    with open_chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, dashboard_url: str) -> Iterator[Page]:
    """A fresh visitor who has the Classify page before them."""
    with open_page(browser, dashboard_url) as page:
        yield page


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_healthy(process: "subprocess.Popen[bytes]", url: str) -> None:
    give_up_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < give_up_s:
        if process.poll() is not None:
            pytest.fail(f"the dashboard ended with exit code {process.returncode} before it was up")
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - its own process, by http
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)  # a process that starts has no event to wait for
    pytest.fail(f"the dashboard was not up within {START_TIMEOUT_S} s")
