"""Response bytes still in the transport's buffer: wait until they are sent, or abort."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import Scope

PENDING_WRITES_EXTENSION = "lightbox.pending_writes"
"""The ASGI extension that holds a connection's `PendingWrites`, as its member `pending_writes`."""


class PendingWrites:
    """The bytes of one connection that its client has not yet read, though the application has sent them.

    Used on one event loop.
    """

    def __init__(self, transport: asyncio.WriteTransport, wait_until_writable: Callable[[], Awaitable[None]]) -> None:
        """Take `wait_until_writable`, which returns once the transport resumes its protocol's writing, or is lost."""
        self._transport = transport
        self._wait_until_writable = wait_until_writable

    def has_any(self) -> bool:
        """Whether bytes wait in this process. Some event loops pass none on before the end of their turn."""
        return self._transport.get_write_buffer_size() > 0

    async def drain(self) -> None:
        """Return once the operating system has every byte, or the connection is lost."""
        # With a limit of zero the transport resumes writing only when its buffer is empty.
        self._transport.set_write_buffer_limits(high=0)
        try:
            await self._wait_until_writable()
        finally:
            # uvloop has none for a connection that is lost.
            if not self._transport.is_closing():
                self._transport.set_write_buffer_limits()

    def abort(self) -> None:
        """Drop the connection and its pending bytes; closing it would wait until the client reads."""
        self._transport.abort()


def find_pending_writes(scope: Scope) -> PendingWrites | None:
    """Return those of a request's connection, if the server has the extension."""
    extension = (scope.get("extensions") or {}).get(PENDING_WRITES_EXTENSION)
    return extension["pending_writes"] if extension else None
