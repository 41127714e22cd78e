from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.types import Receive, Scope, Send

from bento_service.http.scrape import AroundScrape

pytestmark = pytest.mark.anyio


class Log:
    """An application and what surrounds it, in the order of their calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        self.calls.append("hold")
        yield
        self.calls.append("let go")

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls.append("app")


async def no_message() -> None:
    raise AssertionError("nobody reads or writes")


@pytest.mark.parametrize(
    ("scope", "calls"),
    [
        ({"type": "http", "path": "/metrics"}, ["hold", "app", "let go"]),
        ({"type": "http", "path": "/livez"}, ["app"]),
        ({"type": "lifespan"}, ["app"]),
    ],
)
async def test_only_a_scrape_is_surrounded(scope: Scope, calls: list[str]) -> None:
    log = Log()
    await AroundScrape(log.app, log.hold)(scope, no_message, no_message)  # type: ignore[arg-type]
    assert log.calls == calls
