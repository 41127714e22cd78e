"""One keep-alive HTTP/1.1 connection with at most one request on it."""

import asyncio
import math
from typing import Protocol, cast

import httptools

from bento_service.load_test.exchange import Exchange, read_facts

OK = 200
RETRY_AFTER = b"retry-after"


class ConnectionOwner(Protocol):
    """Who gives a connection its requests. Called on the event loop's thread."""

    def answered(self, connection: "Connection", exchange: Exchange, status: int) -> None:
        """Take a whole answer; the connection is free for the next request."""

    def lost(self, connection: "Connection", exchange: Exchange | None, *, is_stale: bool) -> None:
        """Take note that the connection is gone, with this request unanswered on it.

        `is_stale` where the server had closed a connection that it kept alive before the request reached it: no fault
        of the request's (RFC 9112, 9.5).
        """


class Connection(asyncio.Protocol):
    """Writes prepared bytes and reads whole answers; of these, what `reads_answers` asks for."""

    def __init__(self, owner: ConnectionOwner, *, reads_answers: bool) -> None:
        self._owner = owner
        self._reads_answers = reads_answers
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.WriteTransport | None = None
        self._exchange: Exchange | None = None
        self._body: list[bytes] = []
        self._has_bytes = False
        self._is_whole = False
        self._is_kept = True
        self._is_used = False

    @property
    def exchange(self) -> Exchange | None:
        """The request that waits for its answer."""
        return self._exchange

    @property
    def is_open(self) -> bool:
        """Whether it takes another request, as far as is known here."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, exchange: Exchange) -> None:
        """Send a request; the one before has been answered and the connection is open."""
        self._exchange = exchange
        self._has_bytes = False
        if self._transport is not None:
            self._transport.writelines(exchange.payload)

    def abort(self) -> None:
        """Close at once; the owner hears of it as of any other loss."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what is written to."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Read on. Bytes that nobody asked for, or that are no HTTP, end the connection."""
        exchange = self._exchange
        if exchange is None:
            self.abort()
            return
        self._has_bytes = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.abort()
            return
        if self._is_whole:
            self._is_whole = False
            self._hand_over(exchange)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the owner."""
        exchange, self._exchange, self._transport = self._exchange, None, None
        self._owner.lost(self, exchange, is_stale=self._is_used and not self._has_bytes)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note Retry-After in seconds; its other form, a date, is of no use to a load."""
        if len(name) == len(RETRY_AFTER) and name.lower() == RETRY_AFTER and self._exchange is not None:
            self._exchange.retry_after_s = float(value) if value.isdigit() else math.nan

    def on_body(self, body: bytes) -> None:
        """Collect the body where it is wanted."""
        if self._reads_answers:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """Note that the answer is whole, unless it is an interim one (RFC 9110, 15.2)."""
        self._is_whole = self._parser.get_status_code() >= OK
        self._is_kept = self._parser.should_keep_alive()

    def _hand_over(self, exchange: Exchange) -> None:
        status = self._parser.get_status_code()
        if self._reads_answers:
            if status == OK:
                exchange.facts = read_facts(b"".join(self._body))
            self._body.clear()
        self._exchange = None
        self._is_used = True
        if not self._is_kept and self._transport is not None:
            self._transport.close()
        self._owner.answered(self, exchange, status)
