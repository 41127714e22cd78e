"""A BentoML application, as far as the guard can tell."""

from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from bento_service.errors import LightboxError
from bento_service.http.bento_api import note_error
from bento_service.http.request_id import request_id_of


@dataclass
class FakeBento:
    """Answers the way BentoML does: plain text for probes, a one-element list for a 4xx, no cause for a 500."""

    is_ready: bool = True
    error: Exception | None = None
    status: int = 200
    bodies: list[bytes] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def app(self) -> Starlette:
        routes = [
            Route("/", self._text),
            Route("/livez", self._text),
            Route("/metrics", self._text),
            Route("/readyz", self._ready),
            Route("/classify", self._classify, methods=["POST"]),
        ]
        return Starlette(routes=routes)

    async def _text(self, request: Request) -> Response:
        return PlainTextResponse("\n")

    async def _ready(self, request: Request) -> Response:
        if not self.is_ready:
            raise HTTPException(503, "Service is not ready because .__is_ready__() returns False.")
        return PlainTextResponse("\n")

    async def _classify(self, request: Request) -> Response:
        self.paths.append(request.url.path)
        try:
            self.bodies.append(await request.body())
            if isinstance(self.error, LightboxError):
                note_error(request.scope, self.error)
            if self.error is not None:
                raise self.error
        except Exception:  # noqa: BLE001 - as BentoML does
            return JSONResponse({"error": "An unexpected error has occurred"}, status_code=500)
        if self.status >= 400:
            return JSONResponse([{"error": "image: Field required"}], status_code=self.status)
        return JSONResponse({"request_id": request_id_of(request.scope)})
