"""The FastAPI application: routers and error translation, wired."""

import logging
from pathlib import Path

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bento_service import __version__
from bento_service.errors import ClientGoneError, JournalUnavailableError, LightboxError
from bento_service.http.batch import batch_router
from bento_service.http.bento_classify import bento_classify_router
from bento_service.http.classify import classify_router
from bento_service.http.edge import EdgeProvider
from bento_service.http.envelope import Envelope
from bento_service.http.history import history_router
from bento_service.http.models import models_router
from bento_service.http.openapi import OPENAPI_PATH, DescribedApi, add_docs_page
from bento_service.http.parameters import explain_validation_error
from bento_service.http.problems import ProblemResponse, answer_error, build_problem
from bento_service.http.request_id import request_id_of
from bento_service.http.status import StatusProvider, status_router

logger = logging.getLogger(__name__)

_DESCRIPTION = """Classifies images, and says what each answer cost.

Every error is `application/problem+json` (RFC 9457) with a stable `code` and the `request_id`. Every answer carries
`X-Request-ID`: yours, if you sent one of up to 128 letters, digits, dots, hyphens and underscores, or a fresh one."""


class NoAnswer(Response):
    """Sends nothing: the client is gone."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Do nothing."""


def create_app(provide: EdgeProvider, *, status: StatusProvider, swagger_assets: Path | None = None) -> FastAPI:
    """Make the application. Nothing is loaded or read; `provide` and `status` are asked at each request.

    Args:
        provide: Returns the wired parts, or raises `NotReadyError`, which becomes a 503.
        status: Tells how the worker is doing, at any time.
        swagger_assets: See `add_docs_page`.
    """
    app = DescribedApi(
        title="Lightbox",
        version=__version__,
        description=_DESCRIPTION,
        openapi_url=OPENAPI_PATH,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    app.include_router(classify_router(provide))
    app.include_router(batch_router(provide))
    app.include_router(bento_classify_router(provide))
    app.include_router(models_router(provide))
    app.include_router(history_router(provide))
    app.include_router(status_router(provide, status))
    add_docs_page(app, swagger_assets)
    app.add_exception_handler(ClientGoneError, _leave_unanswered)
    app.add_exception_handler(LightboxError, _answer_lightbox_error)
    app.add_exception_handler(RequestValidationError, _answer_validation_error)
    app.add_exception_handler(HTTPException, _answer_http_exception)
    app.add_middleware(Envelope)
    return app


async def _leave_unanswered(request: Request, error: Exception) -> Response:
    return NoAnswer()


async def _answer_lightbox_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, LightboxError):
        raise error
    request_id = request_id_of(request.scope)
    problem = answer_error(error, request_id)
    if problem.status_code == 500:
        logger.error("Request %s: %s", request_id, error.message, exc_info=error)
    elif isinstance(error, JournalUnavailableError):
        logger.warning("Request %s: %s", request_id, error)
    return problem


async def _answer_validation_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    return answer_error(explain_validation_error(error), request_id_of(request.scope))


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    """Answer what the routing raises: an unknown path or a wrong method."""
    if not isinstance(error, HTTPException):
        raise error
    request_id = request_id_of(request.scope)
    if error.status_code == 404:
        detail = f"There is nothing at {request.url.path}. GET {OPENAPI_PATH} lists what there is."
        return ProblemResponse(build_problem("not_found", detail, request_id))
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        detail = f"{request.url.path} does not take {request.method}; it takes {allowed}."
        return ProblemResponse(build_problem("method_not_allowed", detail, request_id), {"Allow": allowed})
    raise error
