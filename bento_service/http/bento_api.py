"""What stands between BentoML's own calls and the contract: its limits on the way in, its errors on the way out."""

import json
import time
from collections.abc import Mapping, MutableMapping
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

from bento_service.domain import ServiceState
from bento_service.errors import (
    ClientGoneError,
    DeadlineExceededError,
    DrainingError,
    InvalidParameterError,
    LightboxError,
    NotReadyError,
    OverloadedError,
)
from bento_service.http.body import SizeLimit, receiving_within
from bento_service.http.budget import ByteLease
from bento_service.http.problems import ProblemResponse, answer_error, answer_internal_error, build_problem
from bento_service.http.request_id import request_id_of
from bento_service.http.status import StatusProvider

_KEY = "lightbox_error"
_RETRY_AFTER_S = 1.0
_MAX_DETAIL_CHARS = 500


def note_error(scope: Scope, error: LightboxError) -> None:
    """Say why a request is about to fail, so that its answer can say so too.

    BentoML turns any exception of an API into a 500 without its cause; the API method notes the cause here first.
    """
    _state_of(scope)[_KEY] = error


class BoundedReceive:
    """An ASGI `receive` that counts, times and charges a body that somebody else parses.

    What passes a limit is noted on the scope, and the reader sees the client hang up.
    """

    def __init__(self, scope: Scope, receive: Receive, *, limit: SizeLimit, timeout_s: float, lease: ByteLease) -> None:
        self._scope = scope
        self._receive = receive
        self._limit = limit
        self._lease = lease
        self._timeout_s = timeout_s
        self._deadline_s = time.monotonic() + timeout_s
        self._received = 0
        self._is_whole = False

    async def __call__(self) -> Message:
        """Return the next message, or a disconnect in place of one too many."""
        if self._is_whole:
            return await self._receive()
        if _KEY in _state_of(self._scope):
            return {"type": "http.disconnect"}
        try:
            return await self._receive_bounded()
        except LightboxError as error:
            note_error(self._scope, error)
            return {"type": "http.disconnect"}

    async def _receive_bounded(self) -> Message:
        async with receiving_within(self._timeout_s, left_s=self._deadline_s - time.monotonic()):
            message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError("The client hung up while it sent its request.")
        count = len(message.get("body", b""))
        self._received += count
        self._limit.check(self._received)
        self._lease.take(count)
        self._is_whole = not message.get("more_body", False)
        return message


def translate_failure(
    scope: Scope, status: int, headers: Headers, body: bytes, read_status: StatusProvider
) -> ProblemResponse | None:
    """Return one of BentoML's failures as the problem that it stands for; None where the client hung up.

    A noted error comes first; then what the status says; `body` is BentoML's JSON, whose sentence is kept for a 4xx.
    """
    request_id = request_id_of(scope)
    noted = _state_of(scope).get(_KEY)
    if isinstance(noted, ClientGoneError):
        return None
    if isinstance(noted, LightboxError):
        return answer_error(noted, request_id)
    path = scope["path"]
    if status == 404:
        return ProblemResponse(build_problem("not_found", f"There is nothing at {path}.", request_id))
    if status == 405:
        allowed = headers.get("allow", "")
        detail = f"{path} does not take {scope['method']}; it takes {allowed}."
        return ProblemResponse(build_problem("method_not_allowed", detail, request_id), {"Allow": allowed})
    error = _error_of_status(status, _sentence_of(body), read_status)
    return answer_internal_error(request_id) if error is None else answer_error(error, request_id)


def _error_of_status(status: int, sentence: str, read_status: StatusProvider) -> LightboxError | None:
    if status == 429:
        return OverloadedError(f"BentoML's own limits refused the request. {sentence}", retry_after_s=_RETRY_AFTER_S)
    if status == 503:
        if read_status().state is ServiceState.DRAINING:
            return DrainingError("This server is shutting down. Try again.", retry_after_s=_RETRY_AFTER_S)
        return NotReadyError("The models are not ready. Try again.", retry_after_s=_RETRY_AFTER_S)
    if status == 504:
        return DeadlineExceededError(f"BentoML's own time limit passed. {sentence}")
    if status < 500:
        return InvalidParameterError(f"BentoML could not read the request. {sentence}")
    return None


def _sentence_of(body: bytes) -> str:
    """Return BentoML's message: `{"error": "…"}`, or a list with one such."""
    try:
        document = json.loads(body)
    except ValueError:
        return ""
    if isinstance(document, list) and document:
        document = document[0]
    error = document.get("error", "") if isinstance(document, Mapping) else ""
    return str(error)[:_MAX_DETAIL_CHARS]


def _state_of(scope: Scope) -> MutableMapping[str, Any]:
    state: MutableMapping[str, Any] = scope.setdefault("state", {})
    return state
