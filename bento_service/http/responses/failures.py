"""From what an endpoint raised to its answer, and to the log where that is an operator's business."""

import logging

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bento_service.errors import ClientGoneError, LightboxError
from bento_service.http.request_id import request_id_of
from bento_service.http.requests.parameters import explain_validation_error
from bento_service.http.responses.problems import answer_error

logger = logging.getLogger(__name__)


class NoAnswer(Response):
    """Sends nothing: the client is gone."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Do nothing."""


def answer_failure(scope: Scope, error: LightboxError) -> Response:
    """Return the answer to a request that ended with `error`; log what the client is not told."""
    if isinstance(error, ClientGoneError):
        return NoAnswer()
    request_id = request_id_of(scope)
    problem = answer_error(error, request_id)
    if problem.status_code == 500:
        logger.error("Request %s: %s", request_id, error.message, exc_info=error)
    return problem


def answer_invalid(scope: Scope, error: RequestValidationError | ValidationError) -> Response:
    """Return the answer to a request whose parameters are not as they should be."""
    return answer_error(explain_validation_error(error), request_id_of(scope))
