"""The request's own headers: `X-Request-ID` and `X-Priority`."""

import random
import re
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Scope

from bento_service.domain.requests import Priority
from bento_service.errors import InvalidParameterError

REQUEST_ID_HEADER = "X-Request-ID"
PRIORITY_HEADER = "X-Priority"
_REQUEST_ID_HEADER_BYTES = b"x-request-id"
_VALID_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_STATE_KEY = "lightbox_request_id"
_SHOWN_CHARS = 40


def request_id_of(scope: Scope) -> str:
    """Return the request's id; every call with the same scope gives the same one.

    The client's `X-Request-ID` counts if it is 1 to 128 characters of `A-Z a-z 0-9 . _ -`, so that it is safe in logs,
    headers and SQL consoles; anything else is replaced.
    """
    state = scope.setdefault("state", {})
    known = state.get(_STATE_KEY)
    if known is None:
        # Unique, not secret; `uuid.uuid4` asks the operating system each time.
        known = state[_STATE_KEY] = _read_request_id(scope) or f"{random.getrandbits(128):032x}"
    return str(known)


def _read_request_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == _REQUEST_ID_HEADER_BYTES:
            return value.decode("ascii") if _VALID_REQUEST_ID.fullmatch(value) else None
    return None


def priority_of(headers: Headers) -> Priority:
    """Return the priority that a request asks for; interactive if the header is missing or empty.

    Raises:
        InvalidParameterError: There is no such priority.
    """
    given = headers.get(PRIORITY_HEADER)
    if not given:
        return Priority.INTERACTIVE
    try:
        return Priority(given.strip().lower())
    except ValueError:
        allowed = " or ".join(Priority)
        raise InvalidParameterError(
            f"The header {PRIORITY_HEADER} is {given[:_SHOWN_CHARS]!r}; it must be {allowed}, or not be sent.",
            parameter=PRIORITY_HEADER,
        ) from None


def describe_priority() -> dict[str, Any]:
    """Return the OpenAPI parameter of `X-Priority`."""
    return {
        "name": PRIORITY_HEADER,
        "in": "header",
        "required": False,
        "description": "`bulk` lets images go first for which somebody waits; they are `interactive`, the default.",
        "schema": {"type": "string", "enum": list(Priority), "default": Priority.INTERACTIVE.value},
    }
