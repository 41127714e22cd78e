"""The header `X-Priority`: whether somebody waits for the answer."""

from typing import Any

from starlette.datastructures import Headers

from bento_service.domain.requests import Priority
from bento_service.errors import InvalidParameterError

HEADER = "X-Priority"
_SHOWN_CHARS = 40


def priority_of(headers: Headers) -> Priority:
    """Return the priority that a request asks for; interactive where it names none, or an empty one.

    Raises:
        InvalidParameterError: It is none of those that there are.
    """
    given = headers.get(HEADER)
    if not given:
        return Priority.INTERACTIVE
    try:
        return Priority(given.strip().lower())
    except ValueError:
        allowed = " or ".join(Priority)
        raise InvalidParameterError(
            f"The header {HEADER} is {given[:_SHOWN_CHARS]!r}; it must be {allowed}, or not be sent.", parameter=HEADER
        ) from None


def describe_priority() -> dict[str, Any]:
    """Return the header for a call's `openapi_extra`."""
    header = {
        "name": HEADER,
        "in": "header",
        "required": False,
        "description": "`bulk` lets images go first for which somebody waits; they are `interactive`, the default.",
        "schema": {"type": "string", "enum": list(Priority), "default": Priority.INTERACTIVE.value},
    }
    return {"parameters": [header]}
