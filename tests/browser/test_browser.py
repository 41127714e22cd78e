import re

import pytest
from playwright.sync_api import Page, expect

from dashboard.gallery import SAMPLES
from tests.fakes.service import FakeService

pytestmark = pytest.mark.browser

CAT = re.compile("Egyptian cat|tabby|tiger cat|Persian cat|Siamese cat")
PASTE = """(field, bytes) => {
    const file = new File([new Uint8Array(bytes)], "image.png", {type: "image/png"});
    const data = new DataTransfer();
    data.items.add(file);
    field.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true}));
}"""


def upload_the_cat(page: Page) -> None:
    page.locator("input[type=file]").set_input_files(SAMPLES[0].path)


def test_an_uploaded_photograph_becomes_a_chart_with_its_class_on_top(page: Page) -> None:
    upload_the_cat(page)
    chart = page.get_by_test_id("stVegaLiteChart").first
    expect(chart.locator("svg")).to_be_visible()
    expect(chart.locator(".role-axis-label text").filter(has_text=CAT).first).to_be_visible()
    expect(page.get_by_role("heading", name=CAT)).to_be_visible()


def test_the_picture_shows_what_the_model_saw(page: Page) -> None:
    upload_the_cat(page)
    seen = page.get_by_alt_text("The part of chelsea.png that the model saw")
    expect(seen).to_be_visible()
    assert seen.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [224, 224]


def test_an_image_is_pasted_from_the_clipboard(page: Page) -> None:
    page.get_by_role("radio", name="Paste").click()
    field = page.get_by_test_id("stChatInputTextArea")
    # Enter does nothing while the pasted file is still on its way to Streamlit.
    with page.expect_response(lambda response: "upload_file" in response.url and response.request.method == "PUT"):
        field.evaluate(PASTE, list(SAMPLES[0].path.read_bytes()))
    expect(page.get_by_text("image.png").first).to_be_visible()
    expect(page.get_by_role("button", name="Send message")).to_be_enabled()
    field.press("Enter")
    expect(page.get_by_role("heading", name=CAT)).to_be_visible()


def test_the_performance_page_draws_its_charts(page: Page) -> None:
    upload_the_cat(page)
    expect(page.get_by_role("heading", name=CAT)).to_be_visible()
    page.get_by_role("link", name="Performance").click()
    expect(page.get_by_role("heading", name="Latency")).to_be_visible()
    expect(page.get_by_test_id("stVegaLiteChart").locator("svg").first).to_be_visible()


def test_the_page_comes_back_by_itself_when_the_service_does(page: Page, service: FakeService) -> None:
    expect(page.get_by_text("Apache-2.0")).to_be_visible()
    service.stop()
    page.get_by_role("button", name="Coffee", exact=True).click()
    expect(page.get_by_text("The service is out of reach")).to_be_visible()
    service.start()
    expect(page.get_by_role("heading", name="Egyptian cat")).to_be_visible()
    expect(page.get_by_text("The service is out of reach")).to_be_hidden()
