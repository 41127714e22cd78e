"""Chromium, as every test of this project opens it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

FLAGS = (
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
WAIT_MS = 90_000


@contextmanager
def open_chromium() -> Iterator[Browser]:
    """A headless Chromium, as long as the context is open; skips the test where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("Chromium is not installed")
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield browser
        browser.close()


@contextmanager
def open_page(browser: Browser, url: str, *, width_px: int = 1280, height_px: int = 900) -> Iterator[Page]:
    """A fresh visitor's page."""
    context = browser.new_context(viewport={"width": width_px, "height": height_px})
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    page.goto(url)
    yield page
    context.close()
