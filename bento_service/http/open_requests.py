"""Every request that is being answered, so that a stopping server can bring them to an end."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bento_service.errors import DrainingError
from bento_service.http.problems import answer_error
from bento_service.http.request_id import HEADER, request_id_of


class OpenRequests:
    """Pure ASGI: an application whose open requests can be waited for and ended. Used on one event loop.

    uvicorn waits for open connections before it lets an application shut down, by default without limit, and a slow
    sender keeps his open for as long as he likes. So the end has to come from within.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._limits: dict[asyncio.Future[None], asyncio.Timeout] = {}

    async def finish(self) -> None:
        """Return once every request that is open now is answered; what comes meanwhile is not waited for."""
        if self._limits:
            await asyncio.wait(list(self._limits))

    def end_all(self) -> int:
        """Cancel what is open, answer it with a `draining` problem, and return how many requests that were."""
        now_s = asyncio.get_running_loop().time()
        ended = [limit for limit in self._limits.values() if limit.when() is None]
        for limit in ended:
            limit.reschedule(now_s)
        return len(ended)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_started = False

        async def send_seen(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        limit = asyncio.timeout(None)
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            async with limit:
                self._limits[answered] = limit
                await self._app(scope, receive, send_seen)
        except TimeoutError:
            if not limit.expired():
                raise
            # An answer that has begun cannot become another; uvicorn closes its connection.
            if not has_started:
                await _refuse(scope, receive, send)
        finally:
            del self._limits[answered]
            answered.set_result(None)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    request_id = request_id_of(scope)
    error = DrainingError(
        "This server is shutting down, and the time that it gives open requests is up. Try again.", retry_after_s=1.0
    )
    problem = answer_error(error, request_id)
    problem.headers[HEADER] = request_id
    await problem(scope, receive, send)
