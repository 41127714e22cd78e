"""What happens before Prometheus reads the series."""

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

METRICS_PATH = "/metrics"


class BeforeScrape:
    """Pure ASGI. Calls `prepare` ahead of each request for the series; it must be quick. The rest passes as it is."""

    def __init__(self, app: ASGIApp, prepare: Callable[[], None]) -> None:
        self._app = app
        self._prepare = prepare

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection's scope."""
        if scope["type"] == "http" and scope["path"] == METRICS_PATH:
            self._prepare()
        await self._app(scope, receive, send)
