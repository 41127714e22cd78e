"""Connections to one server, opened as they are needed and bounded in number."""

import asyncio
import socket
from collections import deque
from collections.abc import Callable

from bento_service.load_test.address import Address, tls_context
from bento_service.load_test.connection import Connection
from bento_service.load_test.exchange import BROKEN, TIMED_OUT, Exchange

Clock = Callable[[], float]


class ConnectionPool:
    """Sends each request on an idle connection, else on a new one, else as soon as there is one.

    The wait for a connection is the request's: its latency counts from when it was due. `on_done` gets each request
    once. For one event loop's thread.
    """

    def __init__(
        self,
        address: Address,
        on_done: Callable[[Exchange], None],
        *,
        max_connections: int,
        reads_answers: bool,
        clock: Clock,
    ) -> None:
        self._address = address
        self._on_done = on_done
        self._max_connections = max_connections
        self._reads_answers = reads_answers
        self._clock = clock
        self._tls = tls_context(address)
        self._open: set[Connection] = set()
        self._idle: list[Connection] = []
        self._waiting: deque[Exchange] = deque()
        self._connecting: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self.peak_connections = 0
        self.exhausted = 0
        """Requests that waited since every connection was taken and there may be no more."""

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
        """Give up on every request that was due before that moment: it timed out, and its connection with it."""
        while self._waiting and self._waiting[0].due_s < due_before_s:
            self._finish(self._waiting.popleft(), TIMED_OUT)
        for connection in tuple(self._open):
            exchange = connection.exchange
            if exchange is not None and exchange.due_s < due_before_s:
                exchange.status = TIMED_OUT
                connection.abort()

    async def close(self) -> None:
        """Close every connection. What is unanswered is left as it is."""
        self._is_closed = True
        for task in self._connecting:
            task.cancel()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        for connection in tuple(self._open):
            connection.abort()
        await asyncio.sleep(0)  # lets the transports close their sockets

    def answered(self, connection: Connection, exchange: Exchange, status: int) -> None:
        """Take an answer from a connection, and give it the next request."""
        exchange.status = status
        exchange.done_s = self._clock()
        if connection.is_open:
            self._offer(connection)
        self._on_done(exchange)

    def lost(self, connection: Connection, exchange: Exchange | None, *, is_stale: bool) -> None:
        """Forget a connection; what was on it failed, or is sent again where the server never saw it."""
        self._open.discard(connection)
        if self._is_closed:
            return
        if exchange is not None:
            if is_stale and exchange.status != TIMED_OUT:
                # Ends with the last stale connection: on a new one nothing is.
                self._waiting.appendleft(exchange)
            else:
                self._finish(exchange, exchange.status or BROKEN)
        if self._waiting:
            self._grow()

    def _offer(self, connection: Connection) -> None:
        if self._waiting:
            self._send(connection, self._waiting.popleft())
        else:
            self._idle.append(connection)

    def _send(self, connection: Connection, exchange: Exchange) -> None:
        exchange.sent_s = self._clock()
        connection.send(exchange)

    def _finish(self, exchange: Exchange, status: int) -> None:
        exchange.status = status
        exchange.done_s = self._clock()
        self._on_done(exchange)

    def _grow(self) -> bool:
        """Open a connection if one is missing; whether each waiting request has one on its way."""
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
        # A connection that failed has failed one request; the others that wait need theirs.
        if self._waiting and not self._is_closed:
            self._grow()

    async def _connect(self) -> None:
        address = self._address
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: Connection(self, reads_answers=self._reads_answers),
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
        self._offer(connection)
