"""A BentoML application, as the gateway sees it."""

from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send


@dataclass
class FakeBento:
    """Answers probes and pages as BentoML does, and lists the requested paths. `status` is that of the page at `/`."""

    is_ready: bool = True
    status: int = 200
    paths: list[str] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.paths.append(scope["path"])
        routes = [
            Route("/", self._page),
            Route("/livez", self._text),
            Route("/metrics", self._text),
            Route("/readyz", self._ready),
        ]
        await Starlette(routes=routes)(scope, receive, send)

    async def _page(self, request: Request) -> Response:
        return PlainTextResponse("\n" if self.status == 200 else "secret", self.status)

    async def _text(self, request: Request) -> Response:
        return PlainTextResponse("\n")

    async def _ready(self, request: Request) -> Response:
        if not self.is_ready:
            raise HTTPException(503, "Service is not ready because .__is_ready__() returns False.")
        return PlainTextResponse("\n")
