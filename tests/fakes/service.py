"""The real HTTP application over a fake classifier, served by uvicorn in a thread: for tests of its callers.

with FakeService() as service:
    Client(service.url).classify(photograph)
    service.refuse("overloaded", times=2, retry_after_s=1)
"""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvicorn
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bento_service.domain.models import ModelCard
from bento_service.domain.requests import Answer
from bento_service.domain.service import ServiceState, ServiceStatus
from bento_service.errors import NotReadyError
from bento_service.explain.picture import draw_explanation
from bento_service.http.app import create_app
from bento_service.http.gateway import Gateway
from bento_service.http.requests.body import ByteBudget
from bento_service.http.responses.problems import ProblemResponse, build_problem
from bento_service.http.state import AppState
from bento_service.images.preprocessing import ImageLimits, draw_preview, preprocess
from bento_service.models.registry_control import RegistryControl
from bento_service.settings import Settings
from tests.fakes import service_data
from tests.fakes.bento import FakeBento
from tests.fakes.classifier import FakeClassifier
from tests.fakes.explainer import FakeExplainer

_BENTO_PATHS = frozenset({"/", "/livez", "/readyz", "/metrics"})
_LONGEST_HOLD_S = 30


@dataclass(frozen=True)
class SeenRequest:
    """A request as it arrived; header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass
class _Rule:
    """An answer in place of the real one on paths that begin with `path`, `times` times (None: always)."""

    path: str
    answer: ASGIApp
    times: int | None


@dataclass
class FakeService:
    """A Lightbox service with three models. It starts with the context; `stop()` and `start()` keep the port.

    While `is_loading` it answers 503 `not_ready`. `requests` lists what arrived, in order.
    """

    port: int = 0
    is_loading: bool = False
    requests: list[SeenRequest] = field(default_factory=list)
    journal: service_data.PastTraffic = field(default_factory=service_data.PastTraffic)
    control: RegistryControl | None = None
    _rules: list[_Rule] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _may_answer: threading.Event = field(default_factory=threading.Event)
    _running: "_Server | None" = None

    def __post_init__(self) -> None:
        settings = Settings(
            models=tuple(served.card.name for served in service_data.served_models()),
            model_control="fixed" if self.control is None else "explicit",
        )
        limits = ImageLimits(settings.max_image_bytes, settings.max_pixels)

        def answer(request_id: str, card: ModelCard, top_k: int, encoded: bytes) -> Answer:
            image = preprocess(encoded, card.recipe, limits)
            return service_data.answer_for(request_id, card, image.info, image.warnings, top_k)

        classifier = FakeClassifier(
            served_versions=service_data.served_models(),
            answer=answer,
            draw=lambda encoded: draw_preview(encoded, limits),
        )
        budget = ByteBudget(settings.max_inflight_bytes)
        explainer = FakeExplainer(
            classifier,
            draw=lambda encoded, grid, box, opacity: draw_explanation(encoded, limits, grid, box, opacity),
        )
        state = AppState(classifier, self.journal, settings, budget, explainer, control=self.control)

        def provide() -> AppState:
            if self.is_loading:
                raise NotReadyError("The models are still loading.", retry_after_s=1.0)
            return state

        def status() -> ServiceStatus:
            return service_data.service_status(ServiceState.LOADING if self.is_loading else ServiceState.READY)

        self._app = Gateway(
            self._answer_as_bento,
            create_app(provide, provide_status=status),
            _BENTO_PATHS,
            status=status,
            on_request=lambda route, method, status, seconds: None,
        )

    @property
    def url(self) -> str:
        """Its base address; the port is known once it has started."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "FakeService":
        self._may_answer.set()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._may_answer.set()
        self.stop()

    def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._running = _Server(self._answer, listener)

    def stop(self) -> None:
        """Refuse connections and reset the open ones, as a service that is down."""
        if self._running is not None:
            self._running.stop()
            self._running = None

    def refuse(
        self,
        code: str,
        *,
        path: str = "/",
        times: int | None = None,
        retry_after_s: int | None = None,
        detail: str | None = None,
        **details: object,
    ) -> None:
        """Answer with this problem on paths that begin with `path`, `times` times or until `behave()`."""
        headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            request_id = Headers(scope=scope)["x-request-id"]
            problem = build_problem(code, detail or f"The fake service says {code}.", request_id, **details)
            await ProblemResponse(problem, {**headers, "X-Request-ID": request_id})(scope, receive, send)

        self._add(_Rule(path, answer, times))

    def answer(
        self,
        status: int,
        body: bytes,
        content_type: str = "text/html",
        *,
        headers: Mapping[str, str] | None = None,
        path: str = "/",
        times: int | None = None,
    ) -> None:
        """Answer with these bytes instead."""
        self._add(_Rule(path, Response(body, status, {"Content-Type": content_type, **(headers or {})}), times))

    def answer_json(self, document: object, *, path: str = "/", times: int | None = None) -> None:
        """Answer 200 with this document instead."""
        self.answer(200, json.dumps(document).encode(), "application/json", path=path, times=times)

    def behave(self) -> None:
        """Forget every `refuse` and `answer`."""
        with self._lock:
            self._rules.clear()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold all answers until the context ends, as a service that hangs."""
        self._may_answer.clear()
        try:
            yield
        finally:
            self._may_answer.set()

    def seen(self, path: str) -> list[SeenRequest]:
        """The requests for exactly this path."""
        with self._lock:
            return [request for request in self.requests if request.path == path]

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note the request and give it an id, then let a rule or the real application answer it."""
        body = await Request(scope, receive).body()
        stand_in = await asyncio.to_thread(self._take, scope, body)
        request_id = f"fake-{len(self.requests):06d}"
        headers = MutableHeaders(raw=list(scope["headers"]))
        headers.setdefault("X-Request-ID", request_id)
        parts: list[Message] = [{"type": "http.request", "body": body}]

        async def receive_again() -> Message:
            return parts.pop() if parts else await receive()

        await (stand_in or self._app)({**scope, "headers": headers.raw}, receive_again, send)

    def _take(self, scope: Scope, body: bytes) -> ASGIApp | None:
        query = dict(QueryParams(scope["query_string"]))
        request = SeenRequest(scope["method"], scope["path"], query, dict(Headers(scope=scope)), body)
        with self._lock:
            self.requests.append(request)
        self._may_answer.wait(_LONGEST_HOLD_S)
        with self._lock:
            for rule in self._rules:
                if request.path.startswith(rule.path) and rule.times != 0:
                    if rule.times is not None:
                        rule.times -= 1
                    return rule.answer
        return None

    async def _answer_as_bento(self, scope: Scope, receive: Receive, send: Send) -> None:
        await FakeBento(is_ready=not self.is_loading)(scope, receive, send)

    def _add(self, rule: _Rule) -> None:
        with self._lock:
            self._rules.append(rule)


class _Server:
    """uvicorn on a listening socket, in a thread; it stops at once, like a killed process."""

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        self._server = uvicorn.Server(
            uvicorn.Config(app, interface="asgi3", log_config=None, access_log=False, lifespan="off")
        )
        self._listener = listener
        self._has_started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        self._has_started.wait()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._must_stop.set)
        self._thread.join()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._must_stop = asyncio.Event()
        config = self._server.config
        config.load()
        self._server.lifespan = config.lifespan_class(config)
        await self._server.startup(sockets=[self._listener])
        self._has_started.set()
        await self._must_stop.wait()
        for server in self._server.servers:
            server.close()
        for connection in list(self._server.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()
