"""A page of another origin, in a real browser, against the gateway in a real uvicorn."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page
from starlette.applications import Starlette

from bento_service.http.requests.body import ByteBudget
from bento_service.http.state import AppState
from bento_service.settings import Settings
from tests.browser.chromium import open_page
from tests.fakes.classifier import FakeClassifier
from tests.fakes.explainer import FakeExplainer
from tests.fakes.journal import FakeJournal
from tests.http.connection.serving import serving
from tests.http.wiring import app_over, gateway_over

pytestmark = pytest.mark.browser

ASK = """async (url) => {
    const headers = {"Content-Type": "image/png", "X-Priority": "bulk", "X-Request-ID": "the-same"};
    try {
        const response = await fetch(url, {method: "POST", headers, body: new Uint8Array([1, 2, 3])});
        const answer = await response.json();
        return [response.status, answer.code ?? answer.predictions.length, response.headers.get("X-Request-ID")];
    } catch (error) {
        return error.name;
    }
}"""


@pytest.fixture
def app() -> Starlette:
    settings = Settings()
    classifier, budget = FakeClassifier(), ByteBudget(settings.max_inflight_bytes)
    return app_over(AppState(classifier, FakeJournal(), settings, budget, FakeExplainer(classifier)))


@pytest.fixture
def page(browser: Browser, app: Starlette) -> Iterator[Page]:
    """A page of another origin: that of a server without CORS."""
    with serving(gateway_over(app)) as service, open_page(browser, f"http://127.0.0.1:{service.port}/livez") as page:
        yield page


def test_a_page_reads_answers_only_from_a_listed_origin(app: Starlette, page: Page) -> None:
    own_origin = page.evaluate("window.origin")
    asked = {}
    for origin in (own_origin, "*", "https://app.example.org"):
        with serving(gateway_over(app, cors_origins=[origin])) as service:
            url = f"http://127.0.0.1:{service.port}/v1/classify"
            asked[origin] = [page.evaluate(ASK, f"{url}?top_k={top_k}") for top_k in ("2", "0")]

    assert asked == {
        own_origin: [[200, 2, "the-same"], [400, "invalid_parameter", "the-same"]],
        "*": [[200, 2, "the-same"], [400, "invalid_parameter", "the-same"]],
        "https://app.example.org": ["TypeError", "TypeError"],
    }
