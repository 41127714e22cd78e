"""Errors as HTTP answers: RFC 9457 `application/problem+json`. The one place that knows status codes."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bento_service.errors import ClientGoneError, LightboxError, RetryableError
from bento_service.http.requests.headers import request_id_of
from bento_service.http.requests.parameters import explain_validation_error
from lightbox_client.contract import Problem

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
OPENAPI_PATH = "/v1/openapi.json"
CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that disconnected. It is in metrics and the journal only, never in an answer."""
_MAX_RETRY_AFTER_S = 3600
_TYPE_PREFIX = "urn:problem-type:lightbox:"


@dataclass(frozen=True, slots=True)
class ProblemType:
    """A kind of problem. `when` says when it happens, for people who read the API's description."""

    status: int
    title: str
    when: str


_STATUS_AND_CAUSE: dict[str, tuple[int, str]] = {
    "invalid_parameter": (400, "A parameter is no number or out of range, or the form is malformed."),
    "malformed_request": (
        400,
        "What arrived is no HTTP, or its method is unknown or CONNECT; the connection is closed.",
    ),
    "missing_image": (400, "The body is empty, or the form has no image in the field that is asked for."),
    "unknown_model": (404, "No such model is served; `models` lists those that are."),
    "unknown_version": (
        404,
        "The model has no such version or alias here; `versions` or `aliases` lists its own.",
    ),
    "model_control_fixed": (403, "LIGHTBOX_MODEL_CONTROL is `fixed`: what is served cannot be changed."),
    "foreign_request": (
        403,
        "A page of another origin, or a caller from another machine, may not change what is served.",
    ),
    "ambiguous_version": (409, "Several versions begin with the characters given; `versions` lists them."),
    "version_in_use": (
        409,
        "The version is the champion, or answers in place of one that is FAILED: it is no canary or shadow and is not "
        "unloaded; or the model is the default.",
    ),
    "no_former_champion": (409, "The model has had one champion only: there is none to roll back to."),
    "labels_differ": (409, "A canary or shadow needs the champion's labels."),
    "not_found": (404, "There is nothing at this path."),
    "method_not_allowed": (405, "The path exists, but not for this method; `Allow` lists those that do."),
    "receive_timeout": (408, "The request took longer to arrive than the server waits."),
    "image_too_large": (413, "The image or the request has more bytes than allowed; counted while receiving."),
    "too_many_pixels": (413, "The image's header declares more pixels than allowed; nothing was decoded."),
    "too_many_images": (413, "The batch has more files than allowed."),
    "unsupported_format": (
        415,
        "The bytes are no JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC or AVIF, whatever the declared type.",
    ),
    "undecodable_image": (422, "The image is truncated or corrupt."),
    "headers_too_large": (431, "The request's headers have more bytes than allowed; the connection is closed."),
    "overloaded": (
        429,
        "There is no place left, or the predicted wait exceeds seven tenths of the latency target or the "
        "deadline; see `Retry-After`.",
    ),
    "cancelled": (CLIENT_CLOSED_REQUEST, "The client hung up; seen in metrics and in the journal only."),
    "inference_failed": (500, "The model failed on this image and on no other."),
    "internal_error": (500, "The server has a defect; its log has the request's id."),
    "not_ready": (503, "The models are still loading; see `Retry-After`."),
    "draining": (503, "The server is shutting down; see `Retry-After`."),
    "journal_unavailable": (503, "The journal's database cannot be read now; see `Retry-After`."),
    "deadline_exceeded": (504, "`deadline_ms` passed before the answer was ready."),
}
PROBLEM_TYPES: Mapping[str, ProblemType] = MappingProxyType(
    {
        code: ProblemType(status, code.replace("_", " ").capitalize(), when)
        for code, (status, when) in _STATUS_AND_CAUSE.items()
    }
)


def is_client_error(code: str) -> bool:
    """Tell whether a problem is the request's fault (HTTP 4xx) rather than the service's; an unknown code's is not."""
    return code in PROBLEM_TYPES and PROBLEM_TYPES[code].status < 500


class ProblemResponse(Response):
    """A problem as an HTTP answer."""

    media_type = MEDIA_TYPE

    def __init__(self, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(problem.model_dump_json(fallback=str), status_code=problem.status, headers=headers)


class _NoAnswer(Response):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send nothing: the client has disconnected."""


def build_problem(code: str, detail: str, request_id: str, **details: object) -> Problem:
    """Return a problem.

    Args:
        code: One of `PROBLEM_TYPES`.
        detail: One sentence on this occurrence.
        request_id: The request's id.
        details: Further members of the problem; they never replace one of RFC 9457's.
    """
    kind = PROBLEM_TYPES[code]
    members = details | {
        "type": _TYPE_PREFIX + code,
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
    }
    return Problem.model_validate(members)


def describe_error(error: LightboxError, request_id: str) -> Problem:
    """Return an error as a problem, with its details and, where a later try may help, `retry_after_s`."""
    details = dict(error.details)
    if isinstance(error, RetryableError):
        details["retry_after_s"] = round_retry_after(error.retry_after_s)
    return build_problem(error.code, error.message, request_id, **details)


async def answer_exception(request: Request, error: Exception) -> Response:
    """Return the answer to a request that ended with `error`; the exception handler of every application here.

    Logs a `LightboxError` that is the service's fault. starlette raises unexpected exceptions again afterwards, so they
    are logged once, by `RequestIdAndErrors`.
    """
    scope, request_id = request.scope, request_id_of(request.scope)
    if isinstance(error, RequestValidationError):
        error = explain_validation_error(error)
    if isinstance(error, ClientGoneError):
        return _NoAnswer()
    if isinstance(error, LightboxError):
        problem = answer_error(error, request_id)
        if problem.status_code == 500:
            logger.error("Request %s: %s", request_id, error.message, exc_info=error)
        return problem
    if not isinstance(error, HTTPException):
        return ProblemResponse(describe_internal_error(request_id))
    if error.status_code == 404:
        return answer_not_found(scope)
    if error.status_code == 405:
        return answer_wrong_method(scope, (error.headers or {}).get("Allow", ""))
    raise error


def answer_error(error: LightboxError, request_id: str) -> ProblemResponse:
    """Return an error as an HTTP answer."""
    headers: dict[str, str] = {}
    if isinstance(error, RetryableError):
        headers["Retry-After"] = str(round_retry_after(error.retry_after_s))
    if PROBLEM_TYPES[error.code].status == 408:
        # RFC 9110, 15.5.9: the rest of that request must not be taken for the next one.
        headers["Connection"] = "close"
    return ProblemResponse(describe_error(error, request_id), headers)


def describe_internal_error(request_id: str) -> Problem:
    """Return the problem for an unexpected exception; it says nothing about the exception."""
    detail = f"Something unexpected went wrong. The server's log has the cause, under request {request_id}."
    return build_problem("internal_error", detail, request_id)


def answer_not_found(scope: Scope) -> ProblemResponse:
    """Return the answer to a path that does not exist."""
    detail = f"There is nothing at {scope['path']}. GET {OPENAPI_PATH} lists what there is."
    return ProblemResponse(build_problem("not_found", detail, request_id_of(scope)))


def answer_wrong_method(scope: Scope, allow: str) -> ProblemResponse:
    """Return the answer to a method that a path does not take; `allow` lists the others, in any order."""
    methods = {method.strip() for method in allow.split(",")}
    # The gateway answers HEAD wherever GET is.
    allowed = ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))
    detail = f"{scope['path']} does not take {scope['method']}; it takes {allowed}."
    return ProblemResponse(build_problem("method_not_allowed", detail, request_id_of(scope)), {"Allow": allowed})


def round_retry_after(seconds: float) -> int:
    """Return whole seconds for `Retry-After`: rounded up, at least 1, at most an hour."""
    return math.ceil(min(max(1, seconds), _MAX_RETRY_AFTER_S)) if math.isfinite(seconds) else _MAX_RETRY_AFTER_S
