"""Graceful shutdown: on SIGTERM, stop admitting, finish open requests, then let uvicorn stop."""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable
from types import FrameType

from bento_service.http.in_flight import InFlightRequests

logger = logging.getLogger(__name__)

_REFUSING_S = 1.0
"""How long a worker that is to stop goes on to answer: whoever has a connection to it, or has not heard, is told so."""
_PATIENT_SIGNALS = 2
"""Ctrl-C comes twice, from the terminal and from the master; whoever sends more does not want to wait."""


class GracefulShutdown:
    """Handles SIGTERM and SIGINT ahead of the server, whose own handlers it calls in the end. Used on one event loop.

    The server would close its socket and every idle connection at once. A second signal spares the time in which
    whoever comes is refused in words; those after it reach the server as they come.
    """

    def __init__(
        self,
        requests: InFlightRequests,
        *,
        begin_drain: Callable[[], float],
        is_serving: Callable[[], bool],
        stop_accepting: Callable[[], None],
    ) -> None:
        """Handle nothing yet.

        Args:
            requests: What is open.
            begin_drain: Stops admitting; returns when the drain's time is up, by the event loop's clock. Called for
                each signal.
            is_serving: Whether anything can be open that is worth waiting for.
            stop_accepting: Called just before the server is told to stop.
        """
        self._requests = requests
        self._begin_drain = begin_drain
        self._is_serving = is_serving
        self._stop_accepting = stop_accepting
        self._signals = 0
        self._leaving: asyncio.Task[None] | None = None

    def handle_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to handle signals, where this is the main thread; there are none for others."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._chain(loop, signal.getsignal(number)))

    def _chain(
        self, loop: asyncio.AbstractEventLoop, previous: "Callable[[int, FrameType | None], object] | int | None"
    ) -> "Callable[[int, FrameType | None], None]":
        def handle(number: int, frame: FrameType | None) -> None:
            def stop_server() -> None:
                self._stop_accepting()
                if callable(previous):
                    previous(number, frame)

            # A signal interrupts the loop anywhere, even within `call_at`: only this call is made for that.
            loop.call_soon_threadsafe(self._leave, loop, stop_server)

        return handle

    def _leave(self, loop: asyncio.AbstractEventLoop, stop_server: Callable[[], None]) -> None:
        drain_by_s = self._begin_drain()
        self._signals += 1
        if not self._is_serving() or self._signals > _PATIENT_SIGNALS:
            stop_server()
            return
        refusing_s = _REFUSING_S
        if self._leaving is not None:
            self._leaving.cancel()
            refusing_s = 0.0
        self._leaving = loop.create_task(self._refuse_until_done(refusing_s, drain_by_s, stop_server))

    async def _refuse_until_done(self, refusing_s: float, drain_by_s: float, stop_server: Callable[[], None]) -> None:
        try:
            async with asyncio.timeout_at(drain_by_s):
                await asyncio.gather(self._requests.finish(), asyncio.sleep(refusing_s))
        except TimeoutError:
            pass
        # A server that is never told would not stop at all.
        except Exception:
            logger.exception("Stopping without waiting for what is open")
        stop_server()
