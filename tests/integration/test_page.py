"""BentoML's page at `/`, in a browser: our Content-Security-Policy keeps it to this server, and must not break it."""

import pytest
from playwright.sync_api import expect

from tests.browser.chromium import open_chromium, open_page
from tests.integration.running_service import RunningService

pytestmark = pytest.mark.browser


def test_the_page_still_offers_its_form_under_our_policy(service: RunningService) -> None:
    with open_chromium() as browser, open_page(browser, service.url) as page:
        answer = page.reload()
        page.get_by_text("/classify").first.click()
        page.get_by_role("button", name="Try it out").click()

        expect(page.get_by_role("button", name="Execute")).to_be_visible()
        expect(page.locator("input[type=file]")).to_be_visible()

    assert answer
    assert "default-src 'self'" in answer.headers["content-security-policy"]
