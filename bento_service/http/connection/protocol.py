"""uvicorn's HTTP protocol, with limits where uvicorn has none.

`service.py` installs it; the application that it calls is `http/gateway.py`.
"""

import asyncio
import uuid
from collections.abc import Sequence
from typing import Any

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from bento_service.http.connection.early_rejection import EarlyRejection, RejectEarly, never_reject
from bento_service.http.connection.lingering import LingeringHttpProtocol
from bento_service.http.connection.pending_writes import PENDING_WRITES_EXTENSION, PendingWrites
from bento_service.http.connection.raw_problem import RawProblem
from bento_service.http.connection.rejection_pacer import STOP_READING_EXTENSION
from bento_service.http.requests.disconnect import DISCONNECT_EXTENSION, DisconnectSignal
from bento_service.http.responses.problems import build_problem

_UPGRADE = b"upgrade"
_MALFORMED = (
    "What arrived is no valid HTTP request: its request line, a header or a chunk of its body is malformed, or its "
    "method is unknown. The connection is closed; send the request again, as HTTP/1.1 and without TLS."
)
_TUNNEL = "CONNECT asks for a tunnel, and this server is no proxy. The connection is closed; send the request itself."
_WEBSOCKET = "There are no WebSockets here: this service answers plain HTTP requests. The connection is closed."

Headers = Sequence[tuple[bytes, bytes]]
"""Names, in lower case, and values, as an HTTP parser gives them."""


class BoundedHttpProtocol(LingeringHttpProtocol):
    """Limits the bytes and the time of a request's headers, and refuses requests before the application sees them.

    uvicorn takes headers of any length at any pace. The application limits the bodies that it reads, and
    `LingeringHttpProtocol` what comes after an answer. Requests that are too long or no HTTP are answered with a
    problem. The limits are attributes of the class. Used on one event loop.

    No connection changes its protocol: an `Upgrade` header is ignored, a WebSocket handshake and CONNECT are refused.
    """

    max_header_bytes = 65_536
    """Most bytes in a row outside a body: request line and headers, or trailers."""
    header_timeout_s = 10.0
    """From a connection's start, or a further request's first byte, until the headers are complete."""

    def __init__(self, *args: Any, reject_early: RejectEarly = never_reject, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's own, passed on
        super().__init__(*args, **kwargs)
        self._reject_early = reject_early
        self._early_rejection: EarlyRejection | None = None
        """The running request's rejection, until it is sent."""
        self._running_cycle: RequestResponseCycle | None = None
        """The request being answered; `self.cycle` is the newest one, which may wait behind it in the pipeline."""
        self._disconnect = DisconnectSignal()
        self._bytes_without_body = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Start the time limit on the first request's headers."""
        super().connection_made(transport)
        self._extensions: dict[str, dict[object, object]] = {
            DISCONNECT_EXTENSION: {"signal": self._disconnect},
            PENDING_WRITES_EXTENSION: {"pending_writes": PendingWrites(transport, self.flow.drain)},
            STOP_READING_EXTENSION: {"stop_reading": self._stop_reading},
        }
        self._start_timer(self.header_timeout_s)

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived, up to the limits."""
        if self._is_input_closed:
            self._discard(len(data))
            return
        room = self.max_header_bytes - self._bytes_without_body
        if not self._is_reading_body and len(data) > room:
            # What is over the limit must not be parsed before it is known that it is no header.
            self._feed(data[:room])
            if self._is_input_closed or self.transport.is_closing():
                return
            data = data[room:]
        self._feed(data)

    def on_headers_complete(self) -> None:
        """Start the request, unless it asks for an upgrade: `_parse` begins it again without."""
        if self.parser.should_upgrade():
            return
        # First, since it raises if the URL is malformed, and then there is no request.
        super().on_headers_complete()
        if self._is_stopping and self.cycle is not None:
            self.cycle.keep_alive = False
        # The application starts at the event loop's next turn.
        self.scope["extensions"] = self._extensions
        self._is_reading_body = True
        self._bytes_without_body = 0
        self._cancel_timer()

    def on_body(self, body: bytes) -> None:
        """Pass on a piece of the body without a copy if the last one was taken; uvicorn would copy it twice."""
        self._bytes_without_body = 0
        if self._early_rejection is not None and self.cycle is self._running_cycle:
            return
        cycle = self.cycle
        if cycle is not None and not cycle.body and not cycle.response_complete:
            # uvicorn's `bytes(cycle.body)` and `cycle.body += b""` return the same object.
            cycle.body = body  # type: ignore[assignment] # declared as a bytearray, used as any bytes
            body = b""
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the body."""
        if self.parser.should_upgrade():
            return
        self._is_reading_body = False
        self._bytes_without_body = 0
        self._cancel_timer()
        super().on_message_complete()

    def shutdown(self) -> None:
        """Close the connection once the request in progress is answered; a delayed rejection is sent at once."""
        super().shutdown()
        self._send_early_rejection()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the running request."""
        if self._running_cycle is not None and not self._running_cycle.response_complete:
            # uvicorn tells the newest request only.
            self._running_cycle.disconnected = True
            self._running_cycle.message_event.set()
        super().connection_lost(exc)
        # It would keep a reference cycle alive.
        del self._extensions[STOP_READING_EXTENSION]
        self._disconnect.set()

    def _feed(self, data: bytes) -> None:
        """Parse bytes, then hold what is left of them against the limits."""
        self._bytes_without_body += len(data)
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            self._refuse("malformed_request", _MALFORMED)
        if self._is_input_closed:
            return
        is_answered = self.cycle is None or self.cycle.response_complete
        if self._bytes_without_body >= self.max_header_bytes:
            detail = (
                f"The request's headers are longer than the {self.max_header_bytes} bytes allowed. Send fewer or "
                "shorter ones, and images in the body."
            )
            self._refuse("headers_too_large", detail, limit=self.max_header_bytes)
        elif is_answered and self._is_reading_body:
            self._discard(len(data))
        elif is_answered and self._timer is None and self.timeout_keep_alive_task is None:
            # The bytes have ended uvicorn's own limit on idle connections.
            self._start_timer(self.header_timeout_s)

    def _parse(self, data: bytes | memoryview) -> None:
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                # The parser has read the headers, and takes all that follows for another protocol's.
                (end,) = upgrade.args
            method = self.parser.get_method()
            if problem := _check_protocol(method, self.headers):
                self._refuse(*problem)
                return
            head = _render_head(method, self.url, self.parser.get_http_version(), self.headers)
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn sets it
            self.parser.feed_data(head)
            data = memoryview(data)[end:]  # a copy for each of many small requests would take long

    def _refuse(self, code: str, detail: str, **details: object) -> None:
        """Close the input; send a problem, unless another answer has begun or the request has had one."""
        self._is_input_closed = True
        if not self._is_reading_body:
            if self.cycle is not None and not self.cycle.response_complete:
                self.cycle.keep_alive = False
                return
        elif self.cycle is None or self.cycle.response_started or self.pipeline:
            self.transport.close()
            return
        else:
            # The application awaits this request's body: to it, the client has disconnected.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self._early_rejection = None
        request_id = uuid.uuid4().hex  # the request's own is not known
        problem = RawProblem(build_problem(code, detail, request_id, **details))
        self.transport.write(problem.render(request_id, is_last=True))
        self._linger()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Give a request to the application, unless it is rejected early."""
        self._running_cycle = cycle
        cycle.transport = self._cycle_transport  # type: ignore[assignment] # has what a cycle uses of one
        # A client that does not read its answers is left to the application, which waits until it does.
        may_reject = not self.flow.write_paused
        rejection = self._reject_early(cycle.scope) if may_reject else None  # type: ignore[arg-type] # the same, typed
        if rejection is None:
            super()._start_asgi_task(cycle, app)
            return
        self._early_rejection = rejection
        # As uvicorn does after an answer: the cycle would refer to this object, which refers to the cycle.
        cycle.on_response = lambda: None
        if rejection.delay_s > 0:
            self._stop_reading()
            self.loop.call_later(rejection.delay_s, self._send_early_rejection)
        else:
            # Not before the parser is done with what has arrived, as with an application's answer.
            self.loop.call_soon(self._send_early_rejection)

    def _send_early_rejection(self) -> None:
        """Answer the running request, which the application never sees."""
        rejection, self._early_rejection, cycle = self._early_rejection, None, self._running_cycle
        if rejection is None or cycle is None or self.transport.is_closing():
            return
        is_last = not cycle.keep_alive or rejection.is_draining()
        headers = self.server_state.default_headers
        self.transport.write(rejection.problem.render(rejection.request_id, headers, is_last=is_last))
        cycle.response_started = cycle.response_complete = True
        if is_last:
            self._close_after_answer()
        self.on_response_complete()

    def _stop_reading(self) -> None:
        """Pause reading and drop the running request's body so far; uvicorn resumes after its answer."""
        if self._running_cycle is not None:
            self._running_cycle.body = b""  # type: ignore[assignment] # as in `on_body`
        self.flow.pause_reading()


def _check_protocol(method: bytes, headers: Headers) -> tuple[str, str] | None:
    """Return code and detail of the problem with CONNECT or a WebSocket handshake (RFC 6455, 4.1); None for others."""
    if method == b"CONNECT":
        return "malformed_request", _TUNNEL
    offered = b",".join(value for name, value in headers if name == _UPGRADE).lower()
    if method == b"GET" and b"websocket" in [protocol.strip() for protocol in offered.split(b",")]:
        return "not_found", _WEBSOCKET
    return None


def _render_head(method: bytes, target: bytes, http_version: str, headers: Headers) -> bytes:
    """Return a request's line and headers as bytes, without its `Upgrade` headers."""
    lines = [b"%s %s HTTP/%s" % (method, target, http_version.encode())]
    lines += [b"%s: %s" % header for header in headers if header[0] != _UPGRADE]
    return b"\r\n".join([*lines, b"", b""])
