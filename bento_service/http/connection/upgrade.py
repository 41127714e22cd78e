"""Requests that ask to change the protocol (RFC 9110, 7.8): answered as if they did not ask, or refused."""

from collections.abc import Iterable, Sequence

_HEADER = b"upgrade"
_TUNNEL = "CONNECT asks for a tunnel, and this server is no proxy. The connection is closed; send the request itself."
_WEBSOCKET = "There are no WebSockets here: this service answers plain HTTP requests. The connection is closed."

Headers = Sequence[tuple[bytes, bytes]]
"""Names, in lower case, and values, as an HTTP parser gives them."""


def find_refusal(method: bytes, headers: Headers) -> tuple[str, str] | None:
    """Return the code and the detail of the problem for a request that makes no sense without another protocol.

    That is CONNECT, or a WebSocket's handshake (RFC 6455, 4.1): a GET that offers `websocket`, among others or alone.
    """
    if method == b"CONNECT":
        return "malformed_request", _TUNNEL
    if method == b"GET" and b"websocket" in _offered(headers):
        return "not_found", _WEBSOCKET
    return None


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
