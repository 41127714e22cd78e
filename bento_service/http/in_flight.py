"""Requests that are being answered: a stopping server waits for them or ends them."""

import asyncio
from functools import partial
from typing import NamedTuple
from weakref import WeakSet

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bento_service.errors import DrainingError
from bento_service.http.connection.pending_writes import PendingWrites, find_pending_writes
from bento_service.http.requests.headers import request_id_of
from bento_service.http.responses.problems import answer_error


class InFlightRequests:
    """Pure ASGI: an application whose open requests can be waited for and ended. Used on one event loop.

    Before a shutdown uvicorn waits for open connections, by default without limit, and a client that sends slowly or
    does not read its answer keeps its connection open. A request is open until its client has read the answer, if the
    server has `PENDING_WRITES_EXTENSION`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._open: dict[asyncio.Future[None], _OpenRequest] = {}
        self._connections: WeakSet[PendingWrites] = WeakSet()
        """Every connection that has had a request and is not closed."""

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """Return another application, whose requests are waited for and ended together with these."""
        return partial(self._answer, app)

    async def finish(self) -> None:
        """Return once every request that is open now is answered; later ones are not waited for."""
        if self._open:
            await asyncio.wait(list(self._open))
        # For event loops that pass bytes on at the end of a turn.
        await asyncio.sleep(0)
        for writes in list(self._connections):
            # Asked right before: a connection may be lost while another is drained, and uvloop's has no limits then.
            if writes.has_any():
                await writes.drain()

    def end_all(self) -> int:
        """Answer open requests with a `draining` problem, abort answers that have begun, and return how many in all."""
        now_s = asyncio.get_running_loop().time()
        ended = [request for request in self._open.values() if request.limit.when() is None]
        for request in ended:
            request.limit.reschedule(now_s)
        unsent = {writes for writes in self._connections if writes.has_any()}
        for writes in unsent:
            writes.abort()
        return len(ended) + len(unsent - {request.writes for request in self._open.values()})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._answer(self._app, scope, receive, send)

    async def _answer(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        has_started = False

        async def send_noted(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        limit = asyncio.timeout(None)
        writes = find_pending_writes(scope)
        if writes is not None:
            self._connections.add(writes)
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            async with limit:
                self._open[answered] = _OpenRequest(limit, writes)
                await app(scope, receive, send_noted)
        except TimeoutError:
            if not limit.expired():
                raise
            if not has_started:
                ended = DrainingError(
                    "This server is shutting down, and the time that it gives open requests is up. Try again.",
                    retry_after_s=1.0,
                )
                await answer_error(ended, request_id_of(scope))(scope, receive, send)
            elif writes is not None:
                writes.abort()
                # Wait until uvicorn knows of the abort: otherwise it logs an incomplete answer.
                while (await receive())["type"] != "http.disconnect":
                    pass
            # Otherwise the server closes the connection: an answer that has begun cannot become another.
        finally:
            del self._open[answered]
            answered.set_result(None)


class _OpenRequest(NamedTuple):
    limit: asyncio.Timeout
    writes: PendingWrites | None
