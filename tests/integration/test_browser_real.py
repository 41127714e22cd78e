"""What a new user does: `lightbox up`, a photograph dropped on the dashboard, a look at the traffic."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from dashboard.gallery import FOLDER
from tests.browser.chromium import open_chromium, open_page
from tests.integration.running_up import RunningUp, running_up

pytestmark = pytest.mark.browser

CAT = re.compile("Egyptian cat|tabby|tiger cat|Persian cat|Siamese cat")


@pytest.fixture
def up(bentoml_home: Path, tmp_path: Path) -> Iterator[RunningUp]:
    with running_up(tmp_path) as running:
        yield running


def test_a_photograph_dropped_on_the_dashboard_becomes_a_chart_and_is_counted(up: RunningUp) -> None:
    with open_chromium() as browser, open_page(browser, up.dashboard_url) as page:
        page.locator("input[type=file]").set_input_files(FOLDER / "chelsea.png")
        expect(page.get_by_role("heading", name=CAT)).to_be_visible()
        best = page.get_by_test_id("stVegaLiteChart").first.locator(".role-axis-label text").filter(has_text=CAT).first
        expect(best).to_be_visible()

        page.get_by_role("link", name="Performance").click()
        requests = page.get_by_test_id("stMetric").filter(has_text="Requests").first
        expect(requests.get_by_test_id("stMetricValue")).to_have_text("1")

    assert up.dashboard_url in up.printed
    assert up.interrupt().endswith("Stopped.\n")
    assert up.process.returncode == 0
