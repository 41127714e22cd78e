"""Stops work whose client is gone."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any

from starlette.types import Receive, Scope

from bento_service.errors import ClientGoneError

DISCONNECT_EXTENSION = "lightbox.hangup"
"""The ASGI extension of a server that tells of a hang-up by itself: its member `bell` is a `DisconnectSignal`."""


class DisconnectSignal:
    """Rings as a connection is lost, for whoever listens: the one request of the connection that is in progress."""

    def __init__(self) -> None:
        self._has_rung = False
        self._listener: Callable[[], None] | None = None

    def ring(self) -> None:
        """Call the listener, now or as one comes."""
        self._has_rung = True
        if self._listener is not None:
            self._listener()

    def listen(self, listener: Callable[[], None]) -> None:
        """Have this called as it rings, at once where it has rung."""
        self._listener = listener
        if self._has_rung:
            listener()

    def leave(self) -> None:
        """Call nobody any more."""
        self._listener = None


class CancelOnDisconnect:
    """An async context that cancels what runs in it once the client hangs up, and raises `ClientGoneError` for it.

    Enter it after the request's last byte: from there on, the next thing to receive is the disconnect. Works like
    `asyncio.timeout`, with the hang-up in place of the clock, so cancellation from outside passes through unchanged.

    With the scope of a server that has `DISCONNECT_EXTENSION`, nothing waits for the disconnect; without, a task does.
    """

    def __init__(self, receive: Receive, scope: Scope | None = None) -> None:
        self._receive = receive
        self._bell = _find_bell(scope)
        self._waiting: asyncio.Task[None] | None = None
        self._has_hung_up = False

    async def __aenter__(self) -> None:
        """Start to watch."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("CancelOnDisconnect works inside a task only")
        self._task = task
        self._cancelling = task.cancelling()
        if self._bell is not None:
            self._bell.listen(self._hang_up)
        else:
            self._waiting = asyncio.create_task(self._wait_for_disconnect())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop to watch."""
        if self._bell is not None:
            self._bell.leave()
        if self._waiting is not None:
            self._waiting.cancel()
        # The kind is asked for last: the cancellation of here is taken back however the work ended.
        if self._has_hung_up and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise ClientGoneError("The client hung up before its answer was ready.") from error

    def _hang_up(self) -> None:
        self._has_hung_up = True
        self._task.cancel()

    async def _wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._hang_up()


def _find_bell(scope: Scope | None) -> DisconnectSignal | None:
    extensions: dict[str, dict[str, Any]] = (scope or {}).get("extensions") or {}
    return extensions[DISCONNECT_EXTENSION]["bell"] if DISCONNECT_EXTENSION in extensions else None
