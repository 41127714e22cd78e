"""What surrounds Prometheus's reading of the series."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from starlette.types import ASGIApp, Receive, Scope, Send

_PATH = "/metrics"


class AroundScrape:
    """Pure ASGI. Answers each request for the series within a context of its own, `hold`. The rest passes as it is."""

    def __init__(self, app: ASGIApp, hold: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        self._app = app
        self._hold = hold

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection's scope."""
        if scope["type"] == "http" and scope["path"] == _PATH:
            async with self._hold():
                await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, send)
