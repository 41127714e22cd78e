"""Stops work whose client is gone."""

import asyncio
from types import TracebackType

from starlette.types import Receive

from bento_service.errors import ClientGoneError


class CancelOnHangup:
    """An async context that cancels what runs in it once the client hangs up, and raises `ClientGoneError` for it.

    Enter it after the request's last byte: from there on, the next thing to receive is the disconnect. Works like
    `asyncio.timeout`, with the hang-up in place of the clock, so cancellation from outside passes through unchanged.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._has_hung_up = False

    async def __aenter__(self) -> None:
        """Start to watch."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("CancelOnHangup works inside a task only")
        self._task = task
        self._cancelling = task.cancelling()
        self._watch = asyncio.create_task(self._wait_for_disconnect())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop to watch."""
        self._watch.cancel()
        if self._has_hung_up and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise ClientGoneError("The client hung up before its answer was ready.") from error

    async def _wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._has_hung_up = True
        self._task.cancel()
