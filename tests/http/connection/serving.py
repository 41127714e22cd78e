"""A real uvicorn in a thread, on the event loop and the protocol that the workers use."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from bento_service.http.connection.early_rejection import RejectEarly, never_reject
from bento_service.http.connection.protocol import BoundedHttpProtocol
from tests.http.byte_client import PATIENCE_S

T = TypeVar("T")


class Patient(BoundedHttpProtocol):
    """Small limits on bytes, none on time that a test would meet."""

    max_header_bytes = 2000
    max_discarded_bytes = 1_000_000
    header_timeout_s = discard_timeout_s = 60


class Serving:
    """A running server. `loop` is its event loop, once it has had a request."""

    def __init__(self, app: ASGIApp, listener: socket.socket, **options: Any) -> None:
        self.port: int = listener.getsockname()[1]
        self.loop: asyncio.AbstractEventLoop

        async def seen(scope: Scope, receive: Receive, send: Send) -> None:
            self.loop = asyncio.get_running_loop()
            await app(scope, receive, send)

        self.server = uvicorn.Server(
            uvicorn.Config(seen, log_config=None, lifespan="off", timeout_keep_alive=60, **options)
        )
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listener]})
        self.thread.start()

    def run(self, work: Callable[[], Coroutine[None, None, T]]) -> T:
        """Do something on the server's event loop, once it has had a request."""
        return asyncio.run_coroutine_threadsafe(work(), self.loop).result(PATIENCE_S)

    def stop(self) -> bool:
        """Whether the server ended by itself, as soon as its connections had their time."""
        self.server.should_exit = True
        self.thread.join(PATIENCE_S)
        return not self.thread.is_alive()


@contextmanager
def serving(
    app: ASGIApp,
    protocol: type[BoundedHttpProtocol] = Patient,
    *,
    loop: str = "uvloop",
    reject_early: RejectEarly = never_reject,
) -> Iterator[Serving]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        service = Serving(app, listener, http=partial(protocol, reject_early=reject_early), loop=loop)
        try:
            yield service
            service.stop()
        finally:
            service.server.force_exit = True
            service.stop()
