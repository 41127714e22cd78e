"""What every request gets, answered or not: an id in its answer, and no exception past this point."""

import logging

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bento_service.http.request_id import HEADER, request_id_of
from bento_service.http.responses.problems import answer_internal_error

logger = logging.getLogger(__name__)


class RequestIdAndErrors:
    """Pure ASGI middleware: `X-Request-ID` on each answer, and a 500 problem for each unexpected exception.

    An exception that reached uvicorn would close the connection under the client's next request.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(scope)
        has_started = False

        async def send_named(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        except Exception:  # the last line of defence: logged in full, told to nobody
            # The path is decoded: as it stands, a %0A in it would begin a line of the stranger's own.
            logger.exception("Request %s failed: %s %r", request_id, scope["method"], scope["path"])
            if not has_started:
                await answer_internal_error(request_id)(scope, receive, send_named)
