"""Closing a connection so that its client can read the answer, and no slow client can keep it open."""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class LingeringHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol with lingering close (nginx's term), and limits on what a client sends after its answer.

    uvicorn reads a body without limit after its answer. If the answer ends the connection, uvicorn closes it while the
    client still sends: the operating system then resets it, and the client may lose the answer.
    """

    max_discarded_bytes = 64_000_000
    """Bytes that are discarded after the answer: most clients read no answer before they have sent all."""
    discard_timeout_s = 10.0
    """How long that may take."""
    stop_timeout_s = 1.0
    """How long discarding, or a client that does not read its answer, may delay a server that stops."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's own, passed on
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None
        self._is_reading_body = False
        """Whether a request's headers are complete and its body is not."""
        self._is_input_closed = False
        """Whether nothing more is parsed; all that comes is discarded."""
        self._is_lingering = False
        self._is_stopping = False
        self._discarded_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Keep the time, and prepare what closes the connection."""
        super().connection_made(transport)
        self._made_s = self.loop.time()
        self._cycle_transport = _CycleTransport(transport, self._close_after_answer, self.loop)

    def on_response_complete(self) -> None:
        """End the answer; begin to discard if the client still sends the request's body."""
        self._cycle_transport.flush()  # the answer to HEAD has no body
        super().on_response_complete()
        if self._is_lingering:
            self._unset_keepalive_if_required()
        elif self._is_reading_body and self.cycle.response_complete and not self.transport.is_closing():
            self._discarded_bytes = 0
            self._start_timer(self.discard_timeout_s)

    def shutdown(self) -> None:
        """Close the connection once the request in progress is answered."""
        self._is_stopping = True
        young_for_s = self._made_s + self.stop_timeout_s - self.loop.time()
        if self._is_lingering:
            self._start_timer(self.stop_timeout_s, self.transport.abort)
        elif self.cycle is None and young_for_s > 0:
            # Its first request is on the way, and would meet with a reset.
            self._start_timer(young_for_s)
        elif self.cycle is None or self.cycle.response_complete:
            self._close_after_answer()
        else:
            super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._cancel_timer()
        super().connection_lost(exc)
        # It would keep a reference cycle alive.
        self._cycle_transport.close_flushed = self.transport.close

    def _close_after_answer(self) -> None:
        if self._is_reading_body and not self.transport.is_closing():
            self._linger()
            return
        self.transport.close()
        if self._is_stopping:
            # A transport closes only once its client has taken everything.
            self._start_timer(self.stop_timeout_s, self.transport.abort)

    def _linger(self) -> None:
        """Close only the sending side, and discard what still comes.

        With both sides closed, further bytes would be answered with a reset, and the client could not read its answer.
        """
        self._is_input_closed = self._is_lingering = True
        self._discarded_bytes = 0
        self.pipeline.clear()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        if self._is_stopping:
            self._start_timer(self.stop_timeout_s, self.transport.abort)
        else:
            self._start_timer(self.discard_timeout_s)

    def _discard(self, count: int) -> None:
        self._discarded_bytes += count
        if self._discarded_bytes > self.max_discarded_bytes:
            self.transport.close()

    def _start_timer(self, seconds: float, end: Callable[[], None] | None = None) -> None:
        """Replace the connection's time limit; `end` closes the connection unless given."""
        self._cancel_timer()
        self._timer = self.loop.call_later(seconds, end or self.transport.close)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _CycleTransport:
    """A transport for uvicorn's request-response cycle, with another `close`.

    It holds an answer's headers until the body follows, at most until the event loop's next turn, and writes both at
    once: from a process that is killed, a client gets a whole answer or none, if it fits into the socket's buffer, and
    a proxy can ask another replica.
    """

    def __init__(
        self, transport: asyncio.Transport, close: Callable[[], None], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.is_closing = transport.is_closing
        self.close_flushed = close
        self._transport = transport
        self._call_soon = loop.call_soon
        self._headers = b""

    def write(self, data: bytes) -> None:
        if self._headers:
            data, self._headers = self._headers + data, b""
        elif data.startswith(b"HTTP/"):
            self._headers = data
            self._call_soon(self.flush)
            return
        self._transport.write(data)

    def flush(self) -> None:
        if self._headers and not self.is_closing():
            self.write(b"")

    def close(self) -> None:
        self.flush()
        self.close_flushed()
