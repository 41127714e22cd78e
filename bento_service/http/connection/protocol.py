"""What one connection may cost: uvicorn's HTTP protocol, bounded where uvicorn itself has no limit."""

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from bento_service.http.connection.early_refusal import EarlyRefusal, RefuseEarly, never_refuse
from bento_service.http.connection.pending_writes import PENDING_WRITES_EXTENSION, AnswerTransport, PendingWrites
from bento_service.http.connection.raw_problem import RawProblem
from bento_service.http.connection.refusal_pacer import HOLD_EXTENSION
from bento_service.http.connection.upgrade import find_refusal, render_head
from bento_service.http.requests.disconnect import DISCONNECT_EXTENSION, DisconnectSignal
from bento_service.http.responses.problems import build_problem

_MALFORMED = (
    "What arrived is no valid HTTP request: its request line, a header or a chunk of its body is malformed, or its "
    "method is unknown. The connection is closed; send the request again, as HTTP/1.1 and without TLS."
)


class BoundedHttpProtocol(HttpToolsProtocol):
    """Bounds the bytes and the time of a request's headers, and of what comes after an answer.

    uvicorn takes headers of any length at any pace, and goes on to receive a body without end whose request is long
    answered; but where that answer ends the connection, it closes it under the client. Bodies that the application does
    read are the application's to bound. The limits are attributes of the class. What the application never sees,
    because it is too long or no HTTP, is refused with a problem all the same. On one event loop.

    No connection changes its protocol: an `Upgrade` header is ignored, a WebSocket handshake and CONNECT are refused.
    """

    max_header_bytes = 65_536
    """Bytes that may come without any of a body among them: request line and headers, or trailers."""
    header_timeout_s = 10.0
    """From a connection's start, or a further request's first byte, until the headers are complete."""
    max_discarded_bytes = 64_000_000
    """What is read and thrown away of a request that is answered: most clients read no answer before they have sent
    all, and a connection that is closed under them takes the answer with it."""
    discard_timeout_s = 10.0
    """How long that may take."""
    stop_timeout_s = 1.0
    """How long that, and what is answered but not yet taken, may hold up a server that stops."""

    def __init__(self, *args: Any, refuse_early: RefuseEarly = never_refuse, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's own, passed on as they come
        super().__init__(*args, **kwargs)
        self._refuse_early = refuse_early
        self._refusal: EarlyRefusal | None = None
        self._is_between_bodies = True
        self._has_refused = False
        self._is_lingering = False
        self._is_stopping = False
        self._bytes_without_body = 0
        self._discarded_bytes = 0
        self._time_limit: asyncio.TimerHandle | None = None
        self._bell = DisconnectSignal()
        self._running_cycle: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Begin to wait for headers."""
        super().connection_made(transport)
        self._made_s = self.loop.time()
        self._delivery = PendingWrites(transport, self.flow.drain)
        self._answer_transport = AnswerTransport(transport, self._close_after_answer)
        self._extensions: dict[str, dict[object, object]] = {
            DISCONNECT_EXTENSION: {"bell": self._bell},
            PENDING_WRITES_EXTENSION: {"delivery": self._delivery},
            HOLD_EXTENSION: {"hold": self._hold},
        }
        self._limit_time(self.header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the connection."""
        self._lift_time_limit()
        if self._running_cycle is not None and not self._running_cycle.response_complete:
            # uvicorn tells the newest request, which may be behind this one in the pipeline.
            self._running_cycle.disconnected = True
            self._running_cycle.message_event.set()
        super().connection_lost(exc)
        # Else this protocol would refer to itself by way of its last request, and stay until it is found.
        self._answer_transport.close = self.transport.close
        del self._extensions[HOLD_EXTENSION]
        self._bell.ring()

    def data_received(self, data: bytes) -> None:
        """Parse, up to the limits."""
        if self._has_refused:
            self._discard(len(data))
            return
        room = self.max_header_bytes - self._bytes_without_body
        if self._is_between_bodies and len(data) > room:
            # What is over the limit must not be parsed before it is known that it is no header.
            self._feed(data[:room])
            if self._has_refused or self.transport.is_closing():
                return
            data = data[room:]
        self._feed(data)

    def on_headers_complete(self) -> None:
        """Start the request, unless it asks for an upgrade: `_parse` begins it again without."""
        if self.parser.should_upgrade():
            return
        # First, for it raises where the URL is malformed, and then there is no request.
        super().on_headers_complete()
        if self._is_stopping and self.cycle is not None:
            self.cycle.keep_alive = False
        # The application starts with the event loop's next turn.
        self.scope["extensions"] = self._extensions
        self._is_between_bodies = False
        self._bytes_without_body = 0
        self._lift_time_limit()

    def on_body(self, body: bytes) -> None:
        """Pass on a piece of the body, as it is where the last one was taken; uvicorn would copy it twice."""
        self._bytes_without_body = 0
        if self._refusal is not None and self.cycle is self._running_cycle:
            return
        cycle = self.cycle
        if cycle is not None and not cycle.body and not cycle.response_complete:
            # uvicorn's `bytes(cycle.body)` and `cycle.body += b""` give back the very object.
            cycle.body = body  # type: ignore[assignment] # declared as a bytearray, used as any bytes
            body = b""
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the body."""
        if self.parser.should_upgrade():
            return
        self._is_between_bodies = True
        self._bytes_without_body = 0
        self._lift_time_limit()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """End the answer; begin to discard where the request goes on."""
        super().on_response_complete()
        if self._is_lingering:
            self._unset_keepalive_if_required()
        elif not self._is_between_bodies and self.cycle.response_complete and not self.transport.is_closing():
            self._discarded_bytes = 0
            self._limit_time(self.discard_timeout_s)

    def shutdown(self) -> None:
        """Close, once the request in progress is answered; what hangs on after that gets `stop_timeout_s`."""
        self._is_stopping = True
        young_for_s = self._made_s + self.stop_timeout_s - self.loop.time()
        if self._is_lingering:
            self._limit_time(self.stop_timeout_s, self.transport.abort)
        elif self.cycle is None and young_for_s > 0:
            # Its first request is on the way, and would meet with a reset.
            self._limit_time(young_for_s)
        elif self.cycle is None or self.cycle.response_complete:
            self._close_after_answer()
        else:
            super().shutdown()
            self._send_refusal()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running_cycle = cycle
        cycle.transport = self._answer_transport  # type: ignore[assignment] # has what a cycle uses of one
        # A client that reads no answers gets no more of them: the application waits until it does.
        may_refuse = not self.flow.write_paused
        refusal = self._refuse_early(cycle.scope) if may_refuse else None  # type: ignore[arg-type] # the same, typed
        if refusal is None:
            super()._start_asgi_task(cycle, app)
            return
        self._refusal = refusal
        # As uvicorn does after an answer; else this protocol would refer to itself, as in `connection_lost`.
        cycle.on_response = lambda: None
        if refusal.hold_s > 0:
            self._hold()
            self.loop.call_later(refusal.hold_s, self._send_refusal)
        else:
            # As the application would: once the parser is done with what has arrived.
            self.loop.call_soon(self._send_refusal)

    def _send_refusal(self) -> None:
        """Answer the running request, which the application never sees, as uvicorn's cycle would."""
        refusal, self._refusal, cycle = self._refusal, None, self._running_cycle
        if refusal is None or cycle is None or self.transport.is_closing():
            return
        is_last = not cycle.keep_alive or refusal.is_draining()
        headers = self.server_state.default_headers
        self.transport.write(refusal.problem.render(refusal.request_id, headers, is_last=is_last))
        cycle.response_started = cycle.response_complete = True
        if is_last:
            self._close_after_answer()
        self.on_response_complete()

    def _hold(self) -> None:
        """Drop what came of the running request's body, and read no more until uvicorn goes on after its answer."""
        if self._running_cycle is not None:
            self._running_cycle.body = b""  # type: ignore[assignment] # as in `on_body`
        self.flow.pause_reading()

    def _feed(self, data: bytes) -> None:
        self._bytes_without_body += len(data)
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            self._refuse("malformed_request", _MALFORMED)
        if self._has_refused:
            return
        is_answered = self.cycle is None or self.cycle.response_complete
        if self._bytes_without_body >= self.max_header_bytes:
            detail = (
                f"The request's headers are longer than the {self.max_header_bytes} bytes allowed. Send fewer or "
                "shorter ones, and images in the body."
            )
            self._refuse("headers_too_large", detail, limit=self.max_header_bytes)
        elif is_answered and not self._is_between_bodies:
            self._discard(len(data))
        elif is_answered and self._time_limit is None and self.timeout_keep_alive_task is None:
            # The bytes have ended uvicorn's own limit on idle connections.
            self._limit_time(self.header_timeout_s)

    def _parse(self, data: bytes | memoryview) -> None:
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                # The parser takes the headers of such a request, no body, and what follows for another protocol's.
                (end,) = upgrade.args
            method = self.parser.get_method()
            if refusal := find_refusal(method, self.headers):
                self._refuse(*refusal)
                return
            head = render_head(method, self.url, self.parser.get_http_version(), self.headers)
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn sets it
            self.parser.feed_data(head)
            data = memoryview(data)[end:]  # a copy for each of many small requests would take long

    def _refuse(self, code: str, detail: str, **details: object) -> None:
        """Take nothing more; say why, unless that would come in the middle of another answer or for a second one."""
        self._has_refused = True
        if self._is_between_bodies:
            if self.cycle is not None and not self.cycle.response_complete:
                self.cycle.keep_alive = False
                return
        elif self.cycle is None or self.cycle.response_started or self.pipeline:
            self.transport.close()
            return
        else:
            # This is the answer to a request whose body the application awaits: to it, the client has hung up.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self._refusal = None
        # The request's own id is unknown.
        request_id = uuid.uuid4().hex
        problem = RawProblem(build_problem(code, detail, request_id, **details))
        self.transport.write(problem.render(request_id, is_last=True))
        self._linger()

    def _close_after_answer(self) -> None:
        if not self._is_between_bodies and not self.transport.is_closing():
            self._linger()
            return
        self.transport.close()
        if self._is_stopping:
            # A transport closes only once its client has taken everything.
            self._limit_time(self.stop_timeout_s, self.transport.abort)

    def _linger(self) -> None:
        """Say no more, and throw away what still comes, so that the client can read the answer and its end.

        It could not if the connection were closed under what it still sends: the operating system would reset it.
        """
        self._has_refused = self._is_lingering = True
        self._discarded_bytes = 0
        self.pipeline.clear()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        if self._is_stopping:
            self._limit_time(self.stop_timeout_s, self.transport.abort)
        else:
            self._limit_time(self.discard_timeout_s, self.transport.close)

    def _discard(self, count: int) -> None:
        self._discarded_bytes += count
        if self._discarded_bytes > self.max_discarded_bytes:
            self.transport.close()

    def _limit_time(self, seconds: float, end: Callable[[], None] | None = None) -> None:
        self._lift_time_limit()
        self._time_limit = self.loop.call_later(seconds, end or self.transport.close)

    def _lift_time_limit(self) -> None:
        if self._time_limit is not None:
            self._time_limit.cancel()
            self._time_limit = None
