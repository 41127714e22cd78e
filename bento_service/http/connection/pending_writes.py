"""Response bytes still in the transport's buffer: wait until they are sent, or abort. And how an answer ends."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import Scope

PENDING_WRITES_EXTENSION = "lightbox.delivery"
"""The ASGI extension that holds a connection's `PendingWrites`, as its member `delivery`."""


class PendingWrites:
    """The bytes that one connection has been given and its client has not yet taken. Used on one event loop.

    An application has answered as soon as the last byte is handed over; whether the client reads is another matter.
    """

    def __init__(self, transport: asyncio.WriteTransport, wait_until_writable: Callable[[], Awaitable[None]]) -> None:
        """Take `wait_until_writable` for what returns once the transport has its protocol write, or is lost."""
        self._transport = transport
        self._wait_until_writable = wait_until_writable

    def is_sending(self) -> bool:
        """Whether bytes wait in this process. Some event loops hand on none before their turn's end."""
        return self._transport.get_write_buffer_size() > 0

    async def finish(self) -> None:
        """Return once the operating system has every byte, or the connection is lost."""
        # With a limit of zero the transport lets go only as its buffer is empty (asyncio, "set_write_buffer_limits").
        self._transport.set_write_buffer_limits(high=0)
        try:
            await self._wait_until_writable()
        finally:
            # uvloop has none for a connection that is gone.
            if not self._transport.is_closing():
                self._transport.set_write_buffer_limits()

    def cut(self) -> None:
        """Drop the connection with what it still has to send; closed, it would wait for its client to read."""
        self._transport.abort()


class AnswerTransport:
    """A connection as uvicorn's cycle of request and answer uses it; how it is closed is left to `close`."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write = transport.write
        self.is_closing = transport.is_closing
        self.close = close


def find_delivery(scope: Scope) -> PendingWrites | None:
    """Return the delivery of a request's connection, where the server tells of it."""
    extension = (scope.get("extensions") or {}).get(PENDING_WRITES_EXTENSION)
    return extension["delivery"] if extension else None
