"""The outermost layer: sends each path to our application or to BentoML's, or answers 404; and counts requests."""

import time
from collections.abc import Callable, Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bento_service.domain.service import ServiceState
from bento_service.errors import DrainingError, InvalidParameterError, NotReadyError, OverloadedError
from bento_service.http.connection.rejection_pacer import RejectionPacer
from bento_service.http.middleware import RequestIdAndErrors, allow_origins
from bento_service.http.requests.headers import REQUEST_ID_HEADER, request_id_of
from bento_service.http.responses.problems import (
    CLIENT_CLOSED_REQUEST,
    PROBLEM_TYPES,
    ProblemResponse,
    answer_error,
    answer_not_found,
    answer_wrong_method,
    describe_internal_error,
)
from bento_service.http.routes.classify import BENTO_PATH
from bento_service.http.state import OnRequest, StatusProvider

UNMATCHED = "unmatched"
_PAGE_POLICY = "default-src 'self' data:; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'"
"""Keeps BentoML's page at `/` to this server: it would report each visitor to an analytics service."""
_OVERLOADED = PROBLEM_TYPES[OverloadedError.code].status
_RETRY_AFTER_S = 1.0
_OWN_PREFIX = "/v1/"
_OWN_PATHS = frozenset({"/version", BENTO_PATH})


class Gateway:
    """Pure ASGI. Routes our calls to our application, known paths to BentoML's, and answers others with 404 (ADR 2).

    BentoML's middleware labels its metrics with raw paths, so it must never see a path that it does not have. Its
    failures become problems. Lifespan events are BentoML's; WebSockets never get here (`BoundedHttpProtocol`). HEAD is
    answered wherever GET is. While the server drains, each answer ends its connection, so that the client's next
    request does not meet a closed one.
    """

    def __init__(
        self,
        bento_app: ASGIApp,
        own_app: ASGIApp,
        bento_paths: Collection[str],
        *,
        status: StatusProvider,
        on_request: OnRequest,
        cors_origins: Collection[str] = (),
        is_draining: Callable[[], bool] = lambda: False,
        pacer: RejectionPacer | None = None,
    ) -> None:
        self._lifespan_app = bento_app
        self._bento_app = _BentoProblems(bento_app, status)
        self._own_app = own_app
        self._bento_paths = frozenset(bento_paths)
        self._on_request = on_request
        self._is_draining = is_draining
        self._pacer = pacer
        self._routed = allow_origins(RequestIdAndErrors(self._route), cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass a lifespan event to BentoML's application."""
        await (self._observe if scope["type"] == "http" else self._lifespan_app)(scope, receive, send)

    async def _observe(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, pace it if it is rejected for overload, and report it to `on_request`."""
        started_s = time.perf_counter()
        status = CLIENT_CLOSED_REQUEST

        async def send_observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                if status == _OVERLOADED and self._pacer is not None and not self._is_draining():
                    await self._pacer.pace(scope, float(headers.get("Retry-After", "0")))
                if self._is_draining():
                    headers["Connection"] = "close"
                # The answer to a preflight request comes from the CORS layer, outside `RequestIdAndErrors`.
                headers.setdefault(REQUEST_ID_HEADER, request_id)
            await send(message)

        request_id = request_id_of(scope)
        path: str = scope["path"]
        method: str = scope["method"]
        is_bento = path in self._bento_paths
        if method == "HEAD" and not is_bento:
            # FastAPI's GET routes take no HEAD. uvicorn, which keeps the original scope, sends no body.
            scope = {**scope, "method": "GET"}
        try:
            await self._routed(scope, receive, send_observed)
        finally:
            route = path if is_bento else getattr(scope.get("route"), "path", "") or UNMATCHED
            self._on_request(route, method, status, time.perf_counter() - started_s)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path.startswith(_OWN_PREFIX) or path in _OWN_PATHS:
            await self._own_app(scope, receive, send)  # `http/app.py`
        elif path in self._bento_paths:
            await self._bento_app(scope, receive, send)
        else:
            await answer_not_found(scope)(scope, receive, send)


class _BentoProblems:
    """BentoML's application, with its failures (400 or more) replaced by problems."""

    def __init__(self, app: ASGIApp, status: StatusProvider) -> None:
        self._app = app
        self._status = status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        failed_start: Message | None = None

        async def send_success(message: Message) -> None:
            nonlocal failed_start
            if message["type"] == "http.response.start":
                if message["status"] >= 400:
                    failed_start = message
                else:
                    headers = MutableHeaders(scope=message)
                    if headers.get("content-type", "").startswith("text/html"):
                        headers["Content-Security-Policy"] = _PAGE_POLICY
            if failed_start is None:
                await send(message)

        try:
            await self._app(scope, receive, send_success)
        finally:
            # Also if the application raises after it has answered 500: nothing of that answer was sent.
            if failed_start is not None:
                await self._translate(scope, failed_start)(scope, receive, send)

    def _translate(self, scope: Scope, start: Message) -> ProblemResponse:
        status, request_id = start["status"], request_id_of(scope)
        if status == 404:
            return answer_not_found(scope)
        if status == 405:
            return answer_wrong_method(scope, Headers(raw=start["headers"]).get("allow", ""))
        if status == 503:
            unavailable = NotReadyError("The models are not ready. Try again.", retry_after_s=_RETRY_AFTER_S)
            draining = DrainingError("This server is shutting down. Try again.", retry_after_s=_RETRY_AFTER_S)
            is_draining = self._status().state is ServiceState.DRAINING
            return answer_error(draining if is_draining else unavailable, request_id)
        if status < 500:
            detail = f"{scope['path']} cannot be had as the request's headers ask for it (status {status})."
            return answer_error(InvalidParameterError(detail), request_id)
        return ProblemResponse(describe_internal_error(request_id))
