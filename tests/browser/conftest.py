"""A real browser on a real dashboard process. `service_url` says which service they talk to."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, Page

import dashboard
from tests.browser.chromium import open_chromium, open_page
from tests.fakes.service import FakeService
from tests.integration.running_service import free_port, wait_until

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
    port = free_port()
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


def _wait_until_healthy(process: "subprocess.Popen[bytes]", url: str) -> None:
    def is_healthy() -> bool:
        assert process.poll() is None, f"the dashboard ended with exit code {process.returncode}"
        try:
            return requests.get(url, timeout=5).status_code == 200
        except requests.RequestException:
            return False

    wait_until(is_healthy, START_TIMEOUT_S)
