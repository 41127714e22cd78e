"""ASGI middleware: request ids, unexpected exceptions, cross-origin requests."""

import logging
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bento_service.http.requests.headers import REQUEST_ID_HEADER, request_id_of
from bento_service.http.responses.problems import ProblemResponse, describe_internal_error
from lightbox_client.preview import PREVIEW_HEADERS

logger = logging.getLogger(__name__)


class RequestIdAndErrors:
    """Adds `X-Request-ID` to each answer of an HTTP application; logs each exception and answers it with a 500 problem.

    An exception that reached uvicorn would close the connection under the client's next request.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request_id = request_id_of(scope)
        has_started = False

        async def send_with_id(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            # The path is decoded; repr() keeps a %0A in it from starting a line of the log.
            logger.exception("Request %s failed: %s %r", request_id, scope["method"], scope["path"])
            if not has_started:
                await ProblemResponse(describe_internal_error(request_id))(scope, receive, send_with_id)


def allow_origins(app: ASGIApp, origins: Collection[str]) -> ASGIApp:
    """Return the application with CORS for these origins (`*` means every one), or as it is where there are none.

    A listed origin may send any method and header; the application decides what it takes. Pages never send cookies.
    """
    if not origins:
        return app
    return _ListedOrigins(
        app,
        allow_origins=origins,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=[REQUEST_ID_HEADER, "Retry-After", *PREVIEW_HEADERS],
        # Chromium asks for it where a page of the internet calls a service of this network or machine.
        allow_private_network=True,
    )


class _ListedOrigins(CORSMiddleware):
    """starlette's middleware, skipped for origins that are not listed: they are answered as if CORS were off."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = Headers(scope=scope).get("origin")
        is_listed = origin is None or self.is_allowed_origin(origin)
        await (super().__call__ if is_listed else self.app)(scope, receive, send)
