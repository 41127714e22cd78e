import re
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Browser, FilePayload, Page, expect

from dashboard.gallery import FOLDER
from tests.browser.chromium import open_page
from tests.fakes.service import FakeService

pytestmark = pytest.mark.browser

CHELSEA = FOLDER / "chelsea.png"
PHONE = (390, 844)
SIZES = (PHONE, (1280, 720), (1440, 900))
CAT = re.compile("Egyptian cat|tabby|tiger cat|Persian cat|Siamese cat")
PASTE = """(field, bytes) => {
    const file = new File([new Uint8Array(bytes)], "image.png", {type: "image/png"});
    const data = new DataTransfer();
    data.items.add(file);
    field.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true}));
}"""


def upload_the_cat(page: Page) -> None:
    page.locator("input[type=file]").set_input_files(CHELSEA)


def test_an_uploaded_photograph_becomes_a_chart(page: Page) -> None:
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


def test_a_map_is_switched_on_and_faded_from_the_keyboard_without_another_request(
    page: Page, service: FakeService
) -> None:
    upload_the_cat(page)
    page.get_by_role("switch", name="Show why").press("Space")
    shown = page.get_by_alt_text("chelsea.png with the map for Egyptian cat over it, which is strongest in the middle")
    expect(shown).to_be_visible()
    before = shown.get_attribute("src")
    page.get_by_role("slider", name="Opacity of the map").press("Home")
    expect(shown).not_to_have_attribute("src", before or "")
    assert len(service.seen("/v1/explain")) == 1


def test_an_image_is_pasted_from_the_clipboard(page: Page) -> None:
    page.get_by_role("radio", name="Paste").click()
    field = page.get_by_test_id("stChatInputTextArea")
    # Enter does nothing while the pasted file is still on its way to Streamlit.
    with page.expect_response(lambda response: "upload_file" in response.url and response.request.method == "PUT"):
        field.evaluate(PASTE, list(CHELSEA.read_bytes()))
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


@pytest.mark.parametrize("size", SIZES)
def test_a_tapped_samples_headline_is_on_the_screen(
    browser: Browser, dashboard_url: str, size: tuple[int, int]
) -> None:
    with open_page(browser, dashboard_url, width_px=size[0], height_px=size[1]) as page:
        page.get_by_role("button", name="Coffee", exact=True).click()
        expect(page.get_by_role("heading", level=2)).to_be_in_viewport(ratio=1)


def test_a_shots_headline_is_on_a_phones_screen(browser: Browser, dashboard_url: str) -> None:
    with open_page(browser, dashboard_url, width_px=PHONE[0], height_px=PHONE[1]) as page:
        page.get_by_role("radio", name="Camera").click()
        page.wait_for_function("document.querySelector('video')?.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA")
        page.get_by_role("button", name="Take Photo").click()
        expect(page.get_by_role("heading", level=2)).to_be_in_viewport(ratio=1)


def test_the_first_headline_of_many_files_is_on_a_phones_screen(browser: Browser, dashboard_url: str) -> None:
    cat = CHELSEA.read_bytes()
    files: list[FilePayload] = [
        {"name": f"{number}.png", "mimeType": "image/png", "buffer": cat + bytes([number])} for number in range(8)
    ]
    with open_page(browser, dashboard_url, width_px=PHONE[0], height_px=PHONE[1]) as page:
        page.locator("input[type=file]").set_input_files(files)
        expect(page.get_by_role("heading", level=2).first).to_be_in_viewport(ratio=1)


def test_a_file_that_is_too_large_shows_its_reason(page: Page, tmp_path: Path) -> None:
    page.get_by_role("button", name="Coffee", exact=True).click()
    expect(page.get_by_role("heading", level=2)).to_be_visible()
    huge = tmp_path / "huge.jpg"
    with huge.open("wb") as file:
        file.truncate(25_000_000)
    # A sample's click gives the page a new, empty uploader.
    expect(page.locator("input[type=file]")).to_have_count(1)
    page.locator("input[type=file]").set_input_files(huge)
    reason = page.get_by_text("File must be 20.0MB or smaller")
    expect(reason).to_be_visible()
    box = reason.bounding_box()
    assert box is not None
    assert box["height"] > 10
    expect(page.get_by_role("heading", level=2)).to_be_hidden()
    page.get_by_role("button", name="Remove huge.jpg").click()
    expect(page.get_by_role("heading", level=2)).to_be_visible()


def test_no_name_of_a_file_becomes_more_than_text(page: Page) -> None:
    names = (
        "**bold** _it_ `code` [link](http://evil.example) ![x](http://evil.example/x.png).png",
        ":red[colour] :material/warning: :smile: $x^2$ <b>html</b> <img src=x> a -> b.png",
        "https://evil.example www.evil.example me@evil.example ~~gone~~ # | > &amp;.png",
    )
    # Playwright takes a slash in a name for a folder's, a browser does not.
    shown = [name.replace("/", "\u2044") for name in names]
    files: list[FilePayload] = [
        {"name": name, "mimeType": "image/png", "buffer": CHELSEA.read_bytes() + name.encode()} for name in shown
    ]
    page.locator("input[type=file]").set_input_files(files)
    summaries = page.get_by_test_id("stExpander").locator("summary").filter(has_text="Egyptian cat")
    expect(summaries).to_have_count(len(names))
    read = [text.replace("\u2060", "") for text in summaries.all_inner_texts()]
    assert all(name in text for name, text in zip(shown, read, strict=True))
    assert summaries.locator("a, img, em, code, del, .katex, [style*=color]").count() == 0


def test_a_row_of_the_table_opens_the_requests_receipt(browser: Browser, dashboard_url: str) -> None:
    with open_page(browser, f"{dashboard_url}/performance?perf_refresh=2+s&perf_order=Newest") as page:
        table = page.get_by_test_id("stDataFrame").last
        table.scroll_into_view_if_needed()
        # The table is a canvas: the third row's first cell.
        table.click(position={"x": 40, "y": 35 * 3 + 17})
        expect(page.get_by_text("Request: past-0002")).to_be_visible()
        expect(page).to_have_url(re.compile("perf_request=past-0002"))


def test_headings_go_down_one_level_at_a_time(browser: Browser, dashboard_url: str) -> None:
    with open_page(browser, f"{dashboard_url}/performance?perf_refresh=Off&perf_request=past-0001") as page:
        expect(page.get_by_text("Request: past-0001")).to_be_visible()
        levels = page.get_by_role("heading").evaluate_all("all => all.map(each => Number(each.tagName[1]))")
    assert levels[0] == 1
    assert all(below - above <= 1 for above, below in pairwise(levels))
