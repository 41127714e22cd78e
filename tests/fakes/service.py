"""A Lightbox service that answers over real HTTP without a model: for tests of whatever calls the service.

with FakeService() as service:
    Client(service.url).classify(photograph)
    service.refuse("overloaded", times=2, retry_after_s=1)
"""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from types import TracebackType

from tests.fakes.service_routes import Reply, SeenRequest, ServiceHandler, problem_reply


@dataclass
class _Rule:
    """A reply that stands in for the real one on paths that begin with `path`, `times` times (None: always)."""

    path: str
    reply: Reply
    times: int | None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, service: "FakeService", port: int) -> None:
        self.service = service
        super().__init__(("127.0.0.1", port), ServiceHandler)


@dataclass
class FakeService:
    """The HTTP contract with three models. It starts with the context; `stop()` and `start()` keep the port.

    `is_loading` makes it answer 503 `not_ready`, `/readyz` included; `is_history_empty` empties its journal. `requests`
    lists what arrived, in order.
    """

    port: int = 0
    is_loading: bool = False
    is_history_empty: bool = False
    requests: list[SeenRequest] = field(default_factory=list)
    _rules: list[_Rule] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _may_answer: threading.Event = field(default_factory=threading.Event)
    _server: _Server | None = None
    _thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Its base address; the port is known once it has started."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "FakeService":
        self._may_answer.set()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._may_answer.set()
        self.stop()

    def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._server = _Server(self, self.port)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Refuse connections from now on, as a service that is down."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server = None

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
        reply = problem_reply(code, detail or f"The fake service says {code}.", headers, **details)
        self._add(_Rule(path, reply, times))

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
        """Answer with these bytes instead: a proxy's HTML page, half a document, another program's JSON."""
        self._add(_Rule(path, Reply(status, body, content_type, headers or {}), times))

    def answer_json(self, document: object, *, path: str = "/", times: int | None = None) -> None:
        """Answer 200 with this document instead."""
        self.answer(200, json.dumps(document).encode(), "application/json", path=path, times=times)

    def behave(self) -> None:
        """Forget every `refuse` and `answer`."""
        with self._lock:
            self._rules.clear()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Take requests and answer none of them until the context is left: a service that hangs."""
        self._may_answer.clear()
        try:
            yield
        finally:
            self._may_answer.set()

    def seen(self, path: str) -> list[SeenRequest]:
        """The requests that came for exactly this path."""
        with self._lock:
            return [request for request in self.requests if request.path == path]

    def take(self, request: SeenRequest) -> Reply | None:
        """Note the request, wait while held, and return the reply that stands in for the real one, if any."""
        with self._lock:
            self.requests.append(request)
        self._may_answer.wait(timeout=30)
        with self._lock:
            for rule in self._rules:
                if request.path.startswith(rule.path) and rule.times != 0:
                    if rule.times is not None:
                        rule.times -= 1
                    return rule.reply
        return None

    def _add(self, rule: _Rule) -> None:
        with self._lock:
            self._rules.append(rule)
