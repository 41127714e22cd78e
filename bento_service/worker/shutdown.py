"""Graceful shutdown: on SIGTERM, stop admitting, finish open requests, then let uvicorn stop."""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable
from types import FrameType

from bento_service.http.in_flight import InFlightRequests

logger = logging.getLogger(__name__)

_ANSWERING_S = 1.0
"""How long a stopping worker still answers at least, so that clients learn of it: by 503 and `Connection: close`."""
_SIGNALS_THAT_DRAIN = 2
"""Ctrl-C sends two, one from the terminal and one from the supervisor. A third one stops the server at once."""

_Handler = Callable[[int, FrameType | None], object]


class GracefulShutdown:
    """Handles SIGTERM and SIGINT before uvicorn does, and calls uvicorn's handlers at the end. Used on one event loop.

    uvicorn would close its socket and every idle connection at once. A second signal ends the second in which an idle
    worker still answers.
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
            requests: The open requests.
            begin_drain: Stops admitting, at each signal; returns when the drain ends, by the event loop's clock.
            is_serving: Whether there can be open requests to wait for.
            stop_accepting: Called just before uvicorn stops.
        """
        self._requests = requests
        self._begin_drain = begin_drain
        self._is_serving = is_serving
        self._stop_accepting = stop_accepting
        self._signals = 0
        self._draining: asyncio.Task[None] | None = None

    def handle_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to handle signals, if this is the main thread; others cannot."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._chain(loop, signal.getsignal(number)))

    def _chain(self, loop: asyncio.AbstractEventLoop, previous: "_Handler | int | None") -> _Handler:
        def handle(number: int, frame: FrameType | None) -> None:
            def stop_server() -> None:
                self._stop_accepting()
                if callable(previous):
                    previous(number, frame)

            # A signal interrupts the loop anywhere, even within `call_at`; only this call is safe there.
            loop.call_soon_threadsafe(self._begin, loop, stop_server)

        return handle

    def _begin(self, loop: asyncio.AbstractEventLoop, stop_server: Callable[[], None]) -> None:
        drain_by_s = self._begin_drain()
        self._signals += 1
        if not self._is_serving() or self._signals > _SIGNALS_THAT_DRAIN:
            stop_server()
            return
        answering_s = _ANSWERING_S
        if self._draining is not None:
            self._draining.cancel()
            answering_s = 0.0
        self._draining = loop.create_task(self._drain_then_stop(answering_s, drain_by_s, stop_server))

    async def _drain_then_stop(self, answering_s: float, drain_by_s: float, stop_server: Callable[[], None]) -> None:
        try:
            async with asyncio.timeout_at(drain_by_s):
                await asyncio.gather(self._requests.finish(), asyncio.sleep(answering_s))
        except TimeoutError:
            pass
        # Whatever fails here, the server has to stop.
        except Exception:
            logger.exception("Stopping without waiting for open requests")
        stop_server()
