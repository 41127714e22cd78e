"""Requests that ask to change the protocol (RFC 9110, 7.8), which a server may answer as if they did not ask."""

from collections.abc import Iterable, Sequence

_HEADER = b"upgrade"
_WEBSOCKET = b"websocket"

Headers = Sequence[tuple[bytes, bytes]]
"""Names, in lower case, and values, as an HTTP parser gives them."""


def is_websocket_handshake(method: bytes, headers: Headers) -> bool:
    """Whether a request opens a WebSocket (RFC 6455, 4.1): a GET that offers `websocket`, among others or alone."""
    return method == b"GET" and _WEBSOCKET in _offered(headers)


def render_head(method: bytes, target: bytes, http_version: str, headers: Headers) -> bytes:
    """Return a request's line and headers as they are sent, without its `Upgrade` headers."""
    lines = [b"%s %s HTTP/%s" % (method, target, http_version.encode())]
    lines += [b"%s: %s" % header for header in headers if header[0] != _HEADER]
    return b"\r\n".join([*lines, b"", b""])


def _offered(headers: Headers) -> Iterable[bytes]:
    """Yield the protocols that the `Upgrade` headers name, in lower case."""
    for name, value in headers:
        if name == _HEADER:
            yield from (protocol.strip().lower() for protocol in value.split(b","))
