"""The HTTP application: routes and error handlers, wired."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from anyio import CapacityLimiter
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from bento_service import __version__
from bento_service.errors import LightboxError
from bento_service.http.responses.openapi import DescribedApi, add_docs_page
from bento_service.http.responses.problems import OPENAPI_PATH, answer_exception
from bento_service.http.routes import batch, classify, history, models, preview, status
from bento_service.http.state import StateProvider, StatusProvider

_DESCRIPTION = """Classifies images, and says what each answer cost.

Every error is `application/problem+json` (RFC 9457) with a stable `code` and the `request_id`. Every answer carries
`X-Request-ID`: yours, if you sent one of up to 128 letters, digits, dots, hyphens and underscores, or a fresh one.

A parameter or an `X-Priority` with an empty value (`until=`) counts as not given. `HEAD` works wherever `GET` does."""

_EXCEPTION_HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    LightboxError: answer_exception,
    RequestValidationError: answer_exception,
    HTTPException: answer_exception,
    Exception: answer_exception,
}


def create_app(
    provide: StateProvider, *, provide_status: StatusProvider, swagger_assets: Path | None = None
) -> Starlette:
    """Make the application. Nothing is loaded or read; the providers are called at each request.

    FastAPI describes every call and answers most. The calls that take one image are starlette's routes in front of it:
    FastAPI costs as much CPU time as all other layers together (ADR 21).

    Args:
        provide: Returns the parts that answer requests, or raises `NotReadyError`, which becomes a 503.
        provide_status: Returns how the worker is doing, at any time.
        swagger_assets: See `add_docs_page`.
    """
    api = _create_api(swagger_assets)
    app = Starlette(
        routes=[
            Route(classify.PATH, classify.classify, methods=["POST"]),
            Route(classify.BENTO_PATH, classify.classify_for_bentoml, methods=["POST"]),
            Mount("/", api),
        ],
        exception_handlers=_EXCEPTION_HANDLERS,
    )
    for each in (app, api):
        each.state.provide = provide
        each.state.provide_status = provide_status
    return app


def _create_api(swagger_assets: Path | None) -> FastAPI:
    api = DescribedApi(
        title="Lightbox",
        version=__version__,
        description=_DESCRIPTION,
        openapi_url=OPENAPI_PATH,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
        exception_handlers=_EXCEPTION_HANDLERS,
    )
    for resource in (classify, batch, preview, models, history, status):
        api.include_router(resource.router)
    add_docs_page(api, swagger_assets)
    api.state.journal_reads = CapacityLimiter(history.READS_AT_ONCE)
    return api
