"""The HTTP application: routes and error handlers, wired."""

from pathlib import Path

from anyio import CapacityLimiter
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Mount, Route

from bento_service import __version__
from bento_service.errors import LightboxError
from bento_service.http.responses.openapi import DescribedApi, add_docs_page
from bento_service.http.responses.problems import OPENAPI_PATH, answer_exception
from bento_service.http.routes import batch, classify, deployments, explain, history, models, preview, status
from bento_service.http.state import StateProvider, StatusProvider

_DESCRIPTION = """Classifies images, and says what each answer cost.

Every error is `application/problem+json` (RFC 9457) with a stable `code` and the `request_id`. Every answer carries
`X-Request-ID`: yours, if you sent one of up to 128 letters, digits, dots, hyphens and underscores, or a fresh one.

A parameter or an `X-Priority` with an empty value (`until=`) counts as not given. `HEAD` works wherever `GET` does."""

_EXCEPTIONS: tuple[type[Exception], ...] = (LightboxError, RequestValidationError, HTTPException, Exception)


def create_app(
    provide: StateProvider, *, provide_status: StatusProvider, swagger_assets: Path | None = None
) -> Starlette:
    """Make the application. Nothing is loaded or read; the providers are called at each request.

    FastAPI describes every call and answers most. The calls that take one image are starlette's routes in front of it:
    FastAPI costs as much CPU time as all other layers together (ADR 21).

    For `swagger_assets` see `add_docs_page`.
    """
    api = _create_api(swagger_assets)
    app = Starlette(
        routes=[
            Route(classify.PATH, classify.classify, methods=["POST"]),
            Route(classify.BENTO_PATH, classify.classify_for_bentoml, methods=["POST"]),
            Route(explain.PATH, explain.explain, methods=["POST"]),
            Mount("/", api),
        ],
        exception_handlers=dict.fromkeys(_EXCEPTIONS, answer_exception),
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
        exception_handlers=dict.fromkeys(_EXCEPTIONS, answer_exception),
    )
    # The versions before the cards, whose path would take `/versions` for the end of a name.
    for resource in (classify, batch, explain, preview, deployments, models, history, status):
        api.include_router(resource.router)
    add_docs_page(api, swagger_assets)
    api.state.journal_reads = CapacityLimiter(history.READS_AT_ONCE)
    return api
