"""Cancels the work on a request whose client has disconnected."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any

from starlette.types import Receive, Scope

from bento_service.errors import ClientGoneError

DISCONNECT_EXTENSION = "lightbox.disconnect"
"""The ASGI extension of a server that signals disconnects: its member `signal` is a `DisconnectSignal`."""


class DisconnectSignal:
    """Calls back once when a connection is lost. One listener: the request of the connection that is being handled."""

    def __init__(self) -> None:
        self._is_set = False
        self._listener: Callable[[], None] | None = None

    def set(self) -> None:
        """Call the listener, or the next one as soon as it registers."""
        self._is_set = True
        if self._listener is not None:
            self._listener()

    def on_set(self, listener: Callable[[], None]) -> None:
        """Register the listener; call it at once if the signal is set."""
        self._listener = listener
        if self._is_set:
            listener()

    def remove_listener(self) -> None:
        """Call nobody any more."""
        self._listener = None


class CancelOnDisconnect:
    """An async context that cancels what runs in it when the client disconnects, and raises `ClientGoneError` instead.

    Enter it after the request's last byte: from there on, the next thing to receive is the disconnect. Works like
    `asyncio.timeout` with the disconnect in place of the clock, so cancellation from outside passes through unchanged.

    With the scope of a server that has `DISCONNECT_EXTENSION`, no task waits for the disconnect; otherwise one does.
    """

    def __init__(self, receive: Receive, scope: Scope | None = None) -> None:
        self._receive = receive
        self._signal = _find_signal(scope)
        self._waiting: asyncio.Task[None] | None = None
        self._is_disconnected = False

    async def __aenter__(self) -> None:
        """Start to watch."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("CancelOnDisconnect works inside a task only")
        self._task = task
        self._cancelling = task.cancelling()
        if self._signal is not None:
            self._signal.on_set(self._cancel)
        else:
            self._waiting = asyncio.create_task(self._wait_for_disconnect())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop to watch."""
        if self._signal is not None:
            self._signal.remove_listener()
        if self._waiting is not None:
            self._waiting.cancel()
        # `kind` comes last: this object's own cancellation is taken back however the work ended.
        if self._is_disconnected and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise ClientGoneError("The client hung up before its answer was ready.") from error

    def _cancel(self) -> None:
        self._is_disconnected = True
        self._task.cancel()

    async def _wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._cancel()


def _find_signal(scope: Scope | None) -> DisconnectSignal | None:
    extensions: dict[str, dict[str, Any]] = (scope or {}).get("extensions") or {}
    return extensions[DISCONNECT_EXTENSION]["signal"] if DISCONNECT_EXTENSION in extensions else None
