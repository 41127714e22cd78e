"""A BentoML application, as the gateway sees it."""

from dataclasses import dataclass, field

from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send


@dataclass
class FakeBento:
    """Answers probes and pages as BentoML does, and lists the requested paths. `status` is that of the page at `/`."""

    is_ready: bool = True
    status: int = 200
    paths: list[str] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.paths.append(scope["path"])
        await self._answer(scope["method"], scope["path"])(scope, receive, send)

    def _answer(self, method: str, path: str) -> PlainTextResponse:
        if path not in {"/", "/livez", "/metrics", "/readyz"}:
            return PlainTextResponse("Not Found", 404)
        if method not in {"GET", "HEAD"}:
            return PlainTextResponse("Method Not Allowed", 405, {"Allow": "GET, HEAD"})
        if path == "/readyz" and not self.is_ready:
            return PlainTextResponse("Service is not ready because .__is_ready__() returns False.", 503)
        if path == "/" and self.status != 200:
            return PlainTextResponse("secret", self.status)
        return PlainTextResponse("\n")
