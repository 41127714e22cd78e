"""A pool of keep-alive HTTP/1.1 connections to one server, at a fifth of the CPU time of aiohttp's (ADR 27)."""

import asyncio
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from typing import cast

import httptools

from bento_service.load_test.address import Address
from bento_service.load_test.result import BROKEN, OK, TIMED_OUT, Exchange, read_facts


class ConnectionPool:
    """Sends each request on an idle connection, or opens one, or waits for one once there are `max_connections`.

    `on_done` gets each request once. All on one event loop.
    """

    def __init__(
        self, address: Address, on_done: Callable[[Exchange], None], *, max_connections: int, reads_answers: bool
    ) -> None:
        self._address = address
        self._on_done = on_done
        self._max_connections = max_connections
        self._reads_answers = reads_answers
        self._tls = ssl.create_default_context() if address.is_tls else None
        self._open: set[_Connection] = set()
        self._idle: list[_Connection] = []
        self._waiting: deque[Exchange] = deque()
        self._connecting: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self.peak_connections = 0
        self.exhausted = 0
        """Requests that had to wait because `max_connections` were in use."""

    def submit(self, exchange: Exchange) -> None:
        """Send a request, now or as soon as a connection is free."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                self._send(connection, exchange)
                return
        self._waiting.append(exchange)
        if not self._grow():
            self.exhausted += 1

    def expire(self, due_before_s: float) -> None:
        """Time out every request that was due before that moment, and close its connection."""
        while self._waiting and self._waiting[0].due_s < due_before_s:
            self._finish(self._waiting.popleft(), TIMED_OUT)
        for connection in tuple(self._open):
            exchange = connection.exchange
            if exchange is not None and exchange.due_s < due_before_s:
                exchange.status = TIMED_OUT
                connection.abort()

    async def close(self) -> None:
        """Close every connection; requests without an answer stay as they are."""
        self._is_closed = True
        for task in self._connecting:
            task.cancel()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        for connection in tuple(self._open):
            connection.abort()
        await asyncio.sleep(0)  # lets the transports close their sockets

    def take_answer(self, connection: "_Connection", exchange: Exchange, status: int) -> None:
        """Finish a request; its connection is free for the next."""
        exchange.status = status
        exchange.done_s = time.perf_counter()
        if connection.is_open:
            self._use(connection)
        self._on_done(exchange)

    def take_loss(self, connection: "_Connection", exchange: Exchange | None, *, is_stale: bool) -> None:
        """Drop a closed connection. The request on it failed, or is sent again where the connection was stale.

        A connection is stale where the server closed it between two requests (RFC 9112, 9.5).
        """
        self._open.discard(connection)
        if self._is_closed:
            return
        if exchange is not None:
            if is_stale and exchange.status != TIMED_OUT:
                # Ends with the last stale connection: a new one is never stale.
                self._waiting.appendleft(exchange)
            else:
                self._finish(exchange, exchange.status or BROKEN)
        if self._waiting:
            self._grow()

    def _use(self, connection: "_Connection") -> None:
        if self._waiting:
            self._send(connection, self._waiting.popleft())
        else:
            self._idle.append(connection)

    def _send(self, connection: "_Connection", exchange: Exchange) -> None:
        exchange.sent_s = time.perf_counter()
        connection.send(exchange)

    def _finish(self, exchange: Exchange, status: int) -> None:
        exchange.status = status
        exchange.done_s = time.perf_counter()
        self._on_done(exchange)

    def _grow(self) -> bool:
        """Open a connection if one is missing; return whether each waiting request will get one."""
        if len(self._connecting) >= len(self._waiting):
            return True
        if len(self._open) + len(self._connecting) >= self._max_connections:
            return False
        task = asyncio.get_running_loop().create_task(self._connect())
        self._connecting.add(task)
        task.add_done_callback(self._end_connecting)
        return True

    def _end_connecting(self, task: asyncio.Task[None]) -> None:
        self._connecting.discard(task)
        # A failed connection fails one request; the other waiting ones need their own.
        if self._waiting and not self._is_closed:
            self._grow()

    async def _connect(self) -> None:
        address = self._address
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: _Connection(self, reads_answers=self._reads_answers),
                address.ip,
                address.port,
                ssl=self._tls,
                server_hostname=address.hostname if address.is_tls else None,
                flags=socket.AI_NUMERICHOST,
            )
        except OSError:
            if self._waiting:
                self._finish(self._waiting.popleft(), BROKEN)
            return
        self._open.add(connection)
        self.peak_connections = max(self.peak_connections, len(self._open))
        self._use(connection)


class _Connection(asyncio.Protocol):
    """One connection with at most one request on it; keeps the bodies of answers only where `reads_answers`."""

    def __init__(self, pool: ConnectionPool, *, reads_answers: bool) -> None:
        self._pool = pool
        self._reads_answers = reads_answers
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.WriteTransport | None = None
        self._body: list[bytes] = []
        self._has_bytes = False
        self._is_complete = False
        self._is_kept = True
        self._is_used = False
        self.exchange: Exchange | None = None
        """The request that waits for its answer."""

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, exchange: Exchange) -> None:
        """Send a request. The connection is open and the previous request answered."""
        self.exchange = exchange
        self._has_bytes = False
        if self._transport is not None:
            self._transport.writelines(exchange.payload)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse more of the answer; bytes without a request, or that are not HTTP, end the connection."""
        exchange = self.exchange
        self._has_bytes = True
        try:
            if exchange is not None:
                self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            exchange = None
        if exchange is None:
            self.abort()
        elif self._is_complete:
            self._is_complete = False
            self._end(exchange)

    def connection_lost(self, error: Exception | None) -> None:
        exchange, self.exchange, self._transport = self.exchange, None, None
        self._pool.take_loss(self, exchange, is_stale=self._is_used and not self._has_bytes)

    def on_body(self, body: bytes) -> None:
        if self._reads_answers:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """Note that the answer is complete, unless it is an interim one (RFC 9110, 15.2)."""
        self._is_complete = self._parser.get_status_code() >= OK
        self._is_kept = self._parser.should_keep_alive()  # only known here

    def _end(self, exchange: Exchange) -> None:
        status = self._parser.get_status_code()
        if self._reads_answers:
            if status == OK:
                exchange.facts = read_facts(b"".join(self._body))
            self._body.clear()
        self.exchange = None
        self._is_used = True
        if not self._is_kept and self._transport is not None:
            self._transport.close()
        self._pool.take_answer(self, exchange, status)
