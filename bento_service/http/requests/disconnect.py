"""Cancels the work on a request whose client has disconnected."""

import asyncio
from collections.abc import Callable
from types import TracebackType

from starlette.types import Scope

from bento_service.errors import ClientGoneError

DISCONNECT_EXTENSION = "lightbox.disconnect"
"""The ASGI extension of a server that signals disconnects: its member `signal` is a `DisconnectSignal`."""


class DisconnectSignal:
    """Calls back once when a connection is lost. It has one listener: the request that is being handled."""

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
        """Call nothing from now on."""
        self._listener = None


class CancelOnDisconnect:
    """An async context that cancels what runs in it when the client disconnects, and raises `ClientGoneError` instead.

    Works like `asyncio.timeout`: cancellation from outside passes through unchanged. It cancels nothing if the server
    lacks `DISCONNECT_EXTENSION`.
    """

    def __init__(self, scope: Scope) -> None:
        extension = (scope.get("extensions") or {}).get(DISCONNECT_EXTENSION, {})
        self._signal: DisconnectSignal = extension.get("signal") or DisconnectSignal()
        self._is_disconnected = False

    async def __aenter__(self) -> None:
        """Start watching."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("CancelOnDisconnect works inside a task only")
        self._task = task
        self._cancelling = task.cancelling()
        self._signal.on_set(self._cancel)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop watching."""
        self._signal.remove_listener()
        # `kind` comes last: this object's own cancellation is taken back however the work ended.
        if self._is_disconnected and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise ClientGoneError("The client hung up before its answer was ready.") from error

    def _cancel(self) -> None:
        self._is_disconnected = True
        self._task.cancel()
