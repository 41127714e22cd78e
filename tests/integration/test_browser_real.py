"""What a new user does: `lightbox up`, a photograph dropped on the dashboard, a look at the traffic."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import expect

from dashboard.gallery import SAMPLES
from tests.browser.chromium import WAIT_MS, open_chromium, open_page
from tests.integration.running_service import STOP_TIMEOUT_S, free_port

pytestmark = pytest.mark.browser

CAT = re.compile("Egyptian cat|tabby|tiger cat|Persian cat|Siamese cat")


@dataclass(frozen=True)
class Up:
    """`lightbox up`, ready: what it printed, and where its dashboard is."""

    process: "subprocess.Popen[str]"
    printed: str
    dashboard_url: str

    def interrupt(self) -> str:
        """Press Ctrl-C and return the rest of what it prints."""
        self.process.send_signal(signal.SIGINT)
        rest, _ = self.process.communicate(timeout=STOP_TIMEOUT_S)
        return rest


@pytest.fixture
def up(bentoml_home: Path, tmp_path: Path) -> Iterator[Up]:
    ports = ("--port", str(free_port()), "--dashboard-port", str(dashboard_port := free_port()))
    environment = {
        **os.environ,
        "LIGHTBOX_DATA_DIR": str(tmp_path),
        "LIGHTBOX_MODELS": "efficientnet_lite0",
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-m", "bento_service.cli", "up", *ports]
    process = subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    assert process.stdout is not None
    printed = ""
    for line in process.stdout:
        printed += line
        if line.startswith("Ctrl-C"):
            break
    try:
        assert process.poll() is None, printed
        yield Up(process, printed, f"http://127.0.0.1:{dashboard_port}")
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=STOP_TIMEOUT_S)


def test_a_photograph_dropped_on_the_dashboard_becomes_a_chart_and_is_counted(up: Up) -> None:
    with open_chromium() as browser, open_page(browser, up.dashboard_url) as page:
        page.locator("input[type=file]").set_input_files(SAMPLES[0].path)
        expect(page.get_by_role("heading", name=CAT)).to_be_visible(timeout=WAIT_MS)
        best = page.get_by_test_id("stVegaLiteChart").first.locator(".role-axis-label text").filter(has_text=CAT).first
        expect(best).to_be_visible(timeout=WAIT_MS)

        page.get_by_role("link", name="Performance").click()
        requests = page.get_by_test_id("stMetric").filter(has_text="Requests").first
        expect(requests.get_by_test_id("stMetricValue")).to_have_text("1", timeout=WAIT_MS)

    assert up.dashboard_url in up.printed
    assert up.interrupt().endswith("Stopped.\n")
    assert up.process.returncode == 0
