"""Every request that is being answered, so that a stopping server can bring them to an end."""

import asyncio
from functools import partial
from typing import NamedTuple
from weakref import WeakSet

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bento_service.errors import DrainingError
from bento_service.http.connection.pending_writes import PendingWrites, find_delivery
from bento_service.http.requests.headers import request_id_of
from bento_service.http.responses.problems import answer_error


class InFlightRequests:
    """Pure ASGI: an application whose open requests can be waited for and ended. Used on one event loop.

    uvicorn waits for open connections before it lets an application shut down, by default without limit, and who sends
    slowly, or does not read his answer, keeps his open for as long as he likes. So the end has to come from within.
    A request is open until its client has taken the answer, where the server tells so (`PENDING_WRITES_EXTENSION`).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._open: dict[asyncio.Future[None], _OpenRequest] = {}
        self._deliveries: WeakSet[PendingWrites] = WeakSet()
        """Of every connection that has had a request, and has not gone."""

    def beside(self, app: ASGIApp) -> ASGIApp:
        """Return another application, whose requests are waited for and ended together with these."""
        return partial(self._answer, app)

    async def finish(self) -> None:
        """Return once every request that is open now is answered; what comes meanwhile is not waited for."""
        if self._open:
            await asyncio.wait(list(self._open))
        # For event loops that hand bytes on at a turn's end.
        await asyncio.sleep(0)
        for delivery in list(self._deliveries):
            if delivery.is_sending():
                await delivery.finish()

    def end_all(self) -> int:
        """Answer what is open with a `draining` problem, cut answers that have begun, and return how many in all."""
        now_s = asyncio.get_running_loop().time()
        ended = [request for request in self._open.values() if request.limit.when() is None]
        for request in ended:
            request.limit.reschedule(now_s)
        undelivered = {delivery for delivery in self._deliveries if delivery.is_sending()}
        for delivery in undelivered:
            delivery.cut()
        return len(ended) + len(undelivered - {request.delivery for request in self._open.values()})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._answer(self._app, scope, receive, send)

    async def _answer(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        has_started = False

        async def send_seen(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        limit = asyncio.timeout(None)
        delivery = find_delivery(scope)
        if delivery is not None:
            self._deliveries.add(delivery)
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            async with limit:
                self._open[answered] = _OpenRequest(limit, delivery)
                await app(scope, receive, send_seen)
        except TimeoutError:
            if not limit.expired():
                raise
            if not has_started:
                await _refuse(scope, receive, send)
            elif delivery is not None:
                await _cut(delivery, receive)
            # Otherwise it is for the server to close the connection: an answer that has begun cannot become another.
        finally:
            del self._open[answered]
            answered.set_result(None)


class _OpenRequest(NamedTuple):
    limit: asyncio.Timeout
    delivery: PendingWrites | None


async def _cut(delivery: PendingWrites, receive: Receive) -> None:
    delivery.cut()
    # A server that has not heard yet would complain that the answer is not complete.
    while (await receive())["type"] != "http.disconnect":
        pass


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    error = DrainingError(
        "This server is shutting down, and the time that it gives open requests is up. Try again.", retry_after_s=1.0
    )
    await answer_error(error, request_id_of(scope))(scope, receive, send)
