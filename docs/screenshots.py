"""The README's pictures, taken of a running Lightbox: `make up`, then `python -m docs.screenshots`."""

import argparse
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

_ROOT = Path(__file__).parents[1]
_IMAGES = Path(__file__).with_name("images")


def main() -> None:
    """Take a picture of a classified photograph with its map and one of the performance page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8501", help="the dashboard's address")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    arguments = parser.parse_args()
    _IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=arguments.chromium, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.goto(arguments.url)
        page.set_input_files("input[type=file]", _ROOT / "dashboard" / "samples" / "chelsea.png")
        page.get_by_text("Show why").click()
        page.get_by_alt_text("with the map for").wait_for()
        _save(page, "classify")
        page.set_viewport_size({"width": 1280, "height": 1180})
        page.goto(f"{arguments.url}/performance?perf_window=15m")
        page.get_by_text("Latency", exact=True).wait_for()
        _save(page, "performance")
        browser.close()


def _save(page: Page, name: str) -> None:
    page.locator("[data-test-script-state=notRunning]").wait_for()
    page.wait_for_timeout(1_000)  # charts fade in, and nothing on the page says when they have
    page.screenshot(path=_IMAGES / f"{name}.png")


if __name__ == "__main__":
    main()
