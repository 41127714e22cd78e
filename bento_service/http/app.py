"""The FastAPI application: routers and error translation, wired."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from bento_service import __version__
from bento_service.errors import LightboxError
from bento_service.http.direct import direct_routes
from bento_service.http.middleware import RequestIdAndErrors
from bento_service.http.request_id import request_id_of
from bento_service.http.requests.parameters import ClassifyQuery
from bento_service.http.responses.failures import answer_failure, answer_invalid
from bento_service.http.responses.openapi import OPENAPI_PATH, DescribedApi, add_docs_page
from bento_service.http.responses.problems import ProblemResponse, build_problem
from bento_service.http.routes.batch import batch_router
from bento_service.http.routes.bento_classify import bento_classify_router
from bento_service.http.routes.classify import classify_router
from bento_service.http.routes.history import history_router
from bento_service.http.routes.models import models_router
from bento_service.http.routes.preview import preview_router
from bento_service.http.routes.status import StatusProvider, status_router
from bento_service.http.state import StateProvider

_DESCRIPTION = """Classifies images, and says what each answer cost.

Every error is `application/problem+json` (RFC 9457) with a stable `code` and the `request_id`. Every answer carries
`X-Request-ID`: yours, if you sent one of up to 128 letters, digits, dots, hyphens and underscores, or a fresh one.

A parameter or an `X-Priority` with an empty value (`until=`) counts as not given. `HEAD` works wherever `GET` does."""


class _ShortcutApi(DescribedApi):
    """An application that answers some calls ahead of its middleware and routing."""

    def __init__(self, shortcuts: Mapping[tuple[str, str], ASGIApp], **options: Any) -> None:  # noqa: ANN401 - FastAPI's
        super().__init__(**options)
        self._shortcuts = shortcuts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection's scope."""
        app = self._shortcuts.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        await (app or super().__call__)(scope, receive, send)


def create_app(provide: StateProvider, *, status: StatusProvider, swagger_assets: Path | None = None) -> FastAPI:
    """Make the application. Nothing is loaded or read; `provide` and `status` are asked at each request.

    Args:
        provide: Returns the wired parts, or raises `NotReadyError`, which becomes a 503.
        status: Tells how the worker is doing, at any time.
        swagger_assets: See `add_docs_page`.
    """
    classify, bento_classify = classify_router(provide), bento_classify_router(provide)
    shortcuts = direct_routes(classify, ClassifyQuery) | direct_routes(bento_classify, ClassifyQuery)
    app = _ShortcutApi(
        {call: RequestIdAndErrors(route) for call, route in shortcuts.items()},
        title="Lightbox",
        version=__version__,
        description=_DESCRIPTION,
        openapi_url=OPENAPI_PATH,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    app.include_router(classify)
    app.include_router(batch_router(provide))
    app.include_router(bento_classify)
    app.include_router(preview_router(provide))
    app.include_router(models_router(provide))
    app.include_router(history_router(provide))
    app.include_router(status_router(provide, status))
    add_docs_page(app, swagger_assets)
    app.add_exception_handler(LightboxError, _answer_lightbox_error)
    app.add_exception_handler(RequestValidationError, _answer_validation_error)
    app.add_exception_handler(HTTPException, _answer_http_exception)
    app.add_middleware(RequestIdAndErrors)
    return app


async def _answer_lightbox_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, LightboxError):
        raise error
    return answer_failure(request.scope, error)


async def _answer_validation_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    return answer_invalid(request.scope, error)


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    """Answer what the routing raises: an unknown path or a wrong method."""
    if not isinstance(error, HTTPException):
        raise error
    request_id = request_id_of(request.scope)
    if error.status_code == 404:
        detail = f"There is nothing at {request.url.path}. GET {OPENAPI_PATH} lists what there is."
        return ProblemResponse(build_problem("not_found", detail, request_id))
    if error.status_code == 405:
        # In a fixed order, with HEAD beside GET, as the guard has it.
        methods = {name.strip() for name in (error.headers or {}).get("Allow", "").split(",")}
        allowed = ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))
        detail = f"{request.url.path} does not take {request.method}; it takes {allowed}."
        return ProblemResponse(build_problem("method_not_allowed", detail, request_id), {"Allow": allowed})
    raise error
