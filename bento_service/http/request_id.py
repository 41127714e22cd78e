"""The name of a request: the client's own, or a fresh one."""

import random
import re

from starlette.types import Scope

HEADER = "X-Request-ID"
_HEADER_BYTES = b"x-request-id"
_ACCEPTABLE = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_KEY = "lightbox_request_id"


def request_id_of(scope: Scope) -> str:
    """Return the request's id; every call with the same scope gives the same one.

    The client's `X-Request-ID` counts if it is 1 to 128 characters of `A-Z a-z 0-9 . _ -`, so that it is safe in logs,
    headers and SQL consoles; anything else is replaced.
    """
    state = scope.setdefault("state", {})
    known = state.get(_KEY)
    if known is None:
        known = state[_KEY] = _accept(scope) or _draw()
    return str(known)


def _draw() -> str:
    # Unique, not secret; `uuid.uuid4` asks the operating system each time.
    return f"{random.getrandbits(128):032x}"


def _accept(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == _HEADER_BYTES:
            return value.decode("ascii") if _ACCEPTABLE.fullmatch(value) else None
    return None
