import asyncio
import signal

import pytest

from bento_service.http.in_flight import InFlightRequests
from bento_service.worker.shutdown import GracefulShutdown
from tests.http.byte_client import PATIENCE_S


class Unwaitable(InFlightRequests):
    """Requests with which something is wrong."""

    def __init__(self) -> None:
        async def app(scope: object, receive: object, send: object) -> None: ...

        super().__init__(app)

    async def finish(self) -> None:
        raise RuntimeError("the handler is closed")


def test_the_server_is_told_to_stop_whatever_becomes_of_the_wait(caplog: pytest.LogCaptureFixture) -> None:
    told = asyncio.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGTERM, lambda *_: told.set())

    async def leave() -> None:
        loop = asyncio.get_running_loop()
        departure = GracefulShutdown(
            Unwaitable(),
            begin_drain=lambda: loop.time() + PATIENCE_S,
            is_serving=lambda: True,
            stop_accepting=lambda: None,
        )
        departure.handle_signals(loop)
        signal.raise_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_S):
            await told.wait()

    try:
        asyncio.run(leave())
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert "the handler is closed" in caplog.text
