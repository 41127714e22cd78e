import pytest
from starlette.types import Receive, Scope, Send

from bento_service.http.scrape import BeforeScrape

pytestmark = pytest.mark.anyio


class Log:
    """An application and what comes before it, in the order of their calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def prepare(self) -> None:
        self.calls.append("prepare")

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls.append("app")


async def no_message() -> None:
    raise AssertionError("nobody reads or writes")


@pytest.mark.parametrize(
    ("scope", "calls"),
    [
        ({"type": "http", "path": "/metrics"}, ["prepare", "app"]),
        ({"type": "http", "path": "/livez"}, ["app"]),
        ({"type": "lifespan"}, ["app"]),
    ],
)
async def test_only_a_scrape_is_prepared_for(scope: Scope, calls: list[str]) -> None:
    log = Log()
    await BeforeScrape(log.app, log.prepare)(scope, no_message, no_message)  # type: ignore[arg-type]
    assert log.calls == calls
