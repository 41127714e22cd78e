"""Answers connections in the kernel's queue that no worker of a stopping service accepts any more.

The workers share one listening socket with the process that started them. It stays open until that process ends, so
the kernel still takes connections after the last worker has closed it, and resets them at the end.
"""

import asyncio
import os
import select
import socket
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from bento_service.errors import DrainingError

if TYPE_CHECKING:
    from bento_service.http.connection.raw_problem import RawProblem

_SO_BINDTOIFINDEX = 62
"""Linux 5.1, asm-generic/socket.h; Python 3.11 does not name it."""
_NO_INTERFACE = 2**31 - 1
_POLL_S = 0.1
_PATIENCE_S = 1.0
_HANDSHAKE_S = 0.2
"""For connections whose handshake had begun when the socket was closed to new ones."""
_LINGER_S = 1.0
"""Longest that one connection may take to send its request and to read the answer."""


class UnacceptedConnections:
    """Answers 503 `draining` to connections that no worker accepts; for the process that started the workers.

    Used on one event loop.
    """

    def __init__(self, listener: socket.socket) -> None:
        """Do nothing yet. The `listener` is non-blocking; its owner closes it after `close`."""
        self._listener = listener
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def watch(self, is_any_worker_accepting: Callable[[], bool]) -> None:
        """Wait until no worker accepts connections; then refuse new ones, answer those that wait, and return.

        Connections that wait for longer than `_PATIENCE_S` are answered meanwhile.
        """
        waiting_polls = 0
        while is_any_worker_accepting():
            waiting_polls = waiting_polls + 1 if has_waiting_connection(self._listener) else 0
            if waiting_polls * _POLL_S >= _PATIENCE_S:
                await self._accept()
            await asyncio.sleep(_POLL_S)
        refuse_connections(self._listener)
        await self._accept()

    async def close(self) -> None:
        """Refuse new connections, and return once all earlier ones are answered. Call it when no worker is left.

        If the kernel cannot refuse them (`refuse_connections`), the last ones are reset.
        """
        refuse_connections(self._listener)
        server = await self._accept()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                while has_waiting_connection(self._listener):  # noqa: ASYNC110 - the kernel tells nobody
                    await asyncio.sleep(0)
        await asyncio.sleep(_HANDSHAKE_S)
        server.close()
        if self._open:
            await asyncio.wait(self._open)

    async def _accept(self) -> asyncio.Server:
        if self._server is None:
            # A duplicate: asyncio closes what it is given.
            duplicate = socket.socket(fileno=os.dup(self._listener.fileno()))
            refuse = partial(self._refuse, _make_refusal())
            self._server = await asyncio.start_server(refuse, sock=duplicate, backlog=socket.SOMAXCONN)
        return self._server

    async def _refuse(self, refusal: "RawProblem", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if task := asyncio.current_task():
            self._open.add(task)
            task.add_done_callback(self._open.discard)
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(_LINGER_S):
                # Some clients treat an answer that comes before their request as an error.
                await reader.read(1)
                writer.write(refusal.render(uuid.uuid4().hex, is_last=True))
                writer.write_eof()
                # The kernel resets a connection that is closed with unread bytes, and the answer would be lost.
                while await reader.read(65_536):
                    pass
        writer.close()


def _make_refusal() -> "RawProblem":
    # Imported once there is something to refuse: FastAPI and numpy would take the process that starts the workers 0.4 s
    # at each start.
    from bento_service.http.connection.raw_problem import RawProblem
    from bento_service.http.responses.problems import describe_error

    error = DrainingError("This server is shutting down. Try again after the time in Retry-After.", retry_after_s=1.0)
    return RawProblem(describe_error(error, uuid.uuid4().hex))


def refuse_connections(listener: socket.socket) -> None:
    """Make the kernel refuse new connections (ECONNREFUSED), and keep those that wait to be accepted.

    Binds the socket to a network interface that does not exist, so that no new connection finds it; closing or
    shutting it down would reset those that wait. This cannot be undone, and applies to all processes that share the
    socket. Needs Linux 5.7 if the user is not root; does nothing elsewhere.
    """
    with suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_BINDTOIFINDEX, _NO_INTERFACE)


def has_waiting_connection(listener: socket.socket) -> bool:
    """Tell whether a connection waits to be accepted, by whichever process."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return bool(poll.poll(0))
