"""The outermost layer: decides who answers which path, so that every answer is one that the contract names."""

import time
from collections.abc import Callable, Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bento_service.errors import OverloadedError
from bento_service.http.bento_failure import translate_failure
from bento_service.http.connection.refusal_pacer import RefusalPacer
from bento_service.http.cors import allow_origins
from bento_service.http.middleware import RequestIdAndErrors
from bento_service.http.request_id import request_id_of
from bento_service.http.responses.openapi import OPENAPI_PATH
from bento_service.http.responses.problems import CLIENT_CLOSED_REQUEST, PROBLEM_TYPES, ProblemResponse, build_problem
from bento_service.http.routes.bento_classify import CLASSIFY_PATH
from bento_service.http.routes.status import StatusProvider
from bento_service.http.state import OnRequest

UNMATCHED = "unmatched"
_PAGE_POLICY = "default-src 'self' data:; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'"
"""Keeps BentoML's page at `/` to this server: it would report each visitor to an analytics service."""
_OVERLOADED = PROBLEM_TYPES[OverloadedError.code].status
_EDGE_PREFIX = "/v1/"
_EDGE_PATHS = frozenset({"/version", CLASSIFY_PATH})


class BentoGateway:
    """Pure ASGI. Routes our calls to our own application, known paths to BentoML's, and no other path anywhere (ADR 2).

    Ours are `/v1/…`, `/version` and `/classify`. BentoML's middleware labels its metrics with raw paths, so it must
    never see a path that it does not have. Its failures become problems. Lifespan events are BentoML's; WebSockets
    never get here (`BoundedHttpProtocol`). HEAD is answered wherever GET is. While the server drains, each answer ends
    its connection, so that the client's next request does not meet a closed one.
    """

    def __init__(
        self,
        bento_app: ASGIApp,
        edge_app: ASGIApp,
        bento_paths: Collection[str],
        *,
        status: StatusProvider,
        on_request: OnRequest,
        cors_origins: Collection[str] = (),
        is_draining: Callable[[], bool] = lambda: False,
        pacer: RefusalPacer | None = None,
    ) -> None:
        self._lifespan_app = bento_app
        self._edge_app = allow_origins(edge_app, cors_origins)
        self._bento_paths = frozenset(bento_paths)
        self._bento_app = allow_origins(RequestIdAndErrors(_Translated(bento_app, status)), cors_origins)
        self._nowhere = allow_origins(RequestIdAndErrors(_answer_not_found), cors_origins)
        self._on_request = on_request
        self._is_draining = is_draining
        self._pacer = pacer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection's scope."""
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await self._lifespan_app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started_s = time.perf_counter()
        status = CLIENT_CLOSED_REQUEST

        async def send_seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                if status == _OVERLOADED and self._pacer is not None and not self._is_draining():
                    await self._pacer.pace(scope, float(headers.get("Retry-After", "0")))
                if self._is_draining():
                    headers["Connection"] = "close"
            await send(message)

        path: str = scope["path"]
        method: str = scope["method"]
        is_bento = False
        if path.startswith(_EDGE_PREFIX) or path in _EDGE_PATHS:
            app = self._edge_app
            if method == "HEAD":
                # FastAPI's GET routes take no HEAD. The server, which has the scope itself, sends no body.
                scope = {**scope, "method": "GET"}
        else:
            is_bento = path in self._bento_paths
            app = self._bento_app if is_bento else self._nowhere
        try:
            await app(scope, receive, send_seen)
        finally:
            route = path if is_bento else getattr(scope.get("route"), "path", UNMATCHED)
            self._on_request(route, method, status, time.perf_counter() - started_s)


class _Translated:
    """BentoML's application, its failures turned into problems."""

    def __init__(self, app: ASGIApp, status: StatusProvider) -> None:
        self._app = app
        self._status = status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        failure = _Failure(send)
        try:
            await self._app(scope, receive, failure.send)
        finally:
            # Also where the application raised after it had answered 500: the answer was held back, so it is ours.
            if failure.status is not None:
                problem = translate_failure(scope, failure.status, Headers(raw=failure.headers), self._status)
                await problem(scope, receive, send)


class _Failure:
    """Lets an answer pass, a page with our policy, unless it is a failure: of that it keeps status and headers."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None
        self.headers: list[tuple[bytes, bytes]] = []

    async def send(self, message: Message) -> None:
        """Take one ASGI message."""
        if message["type"] == "http.response.start" and message["status"] >= 400:
            self.status = message["status"]
            self.headers = list(message.get("headers", ()))
        elif self.status is None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("content-type", "").startswith("text/html"):
                    headers["Content-Security-Policy"] = _PAGE_POLICY
            await self._send(message)


async def _answer_not_found(scope: Scope, receive: Receive, send: Send) -> None:
    detail = f"There is nothing at {scope['path']}. GET {OPENAPI_PATH} lists what there is."
    await ProblemResponse(build_problem("not_found", detail, request_id_of(scope)))(scope, receive, send)
