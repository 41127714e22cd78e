"""Cross-origin requests: which web pages of other origins may read the answers (https://fetch.spec.whatwg.org/)."""

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from bento_service.http.middleware import RequestIdAndErrors
from bento_service.http.request_id import HEADER
from lightbox_client.contract import PREVIEW_HEADERS


def allow_origins(app: ASGIApp, origins: Collection[str]) -> ASGIApp:
    """Return the application with CORS for these origins (`*` means every one), or as it is where there are none.

    A listed origin may send any method and header; the application decides what it takes. Pages never send cookies.
    """
    if not origins:
        return app
    cors = _ListedOrigins(
        app,
        allow_origins=origins,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=[HEADER, "Retry-After", *PREVIEW_HEADERS],
        # Chromium asks for it where a page of the internet calls a service of this network or machine.
        allow_private_network=True,
    )
    return RequestIdAndErrors(cors)  # an answer to a preflight request has an id too


class _ListedOrigins(CORSMiddleware):
    """starlette's middleware; to any other origin the application answers as if CORS were off, errors included."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = Headers(scope=scope).get("origin")
        is_listed = origin is None or self.is_allowed_origin(origin)
        await (super().__call__ if is_listed else self.app)(scope, receive, send)
