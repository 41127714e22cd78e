"""Rejects images for overload as soon as their request's headers arrive, without a task of the application."""

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from starlette.requests import Request
from starlette.types import Scope

from bento_service.errors import LightboxError, NotReadyError, OverloadedError
from bento_service.http.connection.raw_problem import RawProblem
from bento_service.http.connection.rejection_pacer import RejectionPacer
from bento_service.http.requests.headers import PRIORITY_HEADER, request_id_of
from bento_service.http.requests.parameters import ClassifyQuery, ExplainQuery
from bento_service.http.responses.problems import describe_error, round_retry_after
from bento_service.http.routes import classify, explain
from bento_service.http.state import AppState, OnRequest, StateProvider

REPEAT_S = 0.1
"""How long a rejection, with its figures, is repeated to requests that ask for the same, and the longest time until
those are recorded."""
_PATHS = (classify.PATH, classify.BENTO_PATH, explain.PATH)
_PRIORITY_HEADER = PRIORITY_HEADER.lower().encode()


class EarlyRejection(NamedTuple):
    """A problem, the request id to send it under, and the seconds to wait before it is sent.

    The connection is closed after it if `is_draining` then returns true.
    """

    problem: RawProblem
    request_id: str
    delay_s: float
    is_draining: Callable[[], bool]


RejectEarly = Callable[[Scope], EarlyRejection | None]
"""Returns a request's rejection by its headers, or None if the application answers it."""


def never_reject(scope: Scope) -> None:
    """Leave every request to the application."""


@dataclass(frozen=True, slots=True)
class _Repeatable:
    """A problem to repeat for requests with the same `key`."""

    key: tuple[object, ...]
    model: str | None
    error: LightboxError
    problem: RawProblem
    made_s: float


class EarlyRejections:
    """A `RejectEarly` for the calls that take one image. Used on one event loop.

    Beside running models, which empty the CPU's caches, making one rejection takes three times as long as in a tight
    loop. So a rejection is made once, by the same call as in the application, and repeated for `REPEAT_S` to requests
    that ask for the same; their receipts and metrics are written together (ADR 19).
    """

    def __init__(
        self,
        provide: StateProvider,
        *,
        pacer: RejectionPacer,
        on_request: OnRequest,
        is_draining: Callable[[], bool],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Reject nothing while `provide` raises `NotReadyError` or `is_draining` returns true."""
        self._provide = provide
        self._pacer = pacer
        self._on_request = on_request
        self._is_draining = is_draining
        self._clock = clock
        self._last: _Repeatable | None = None
        self._unrecorded: list[Callable[[], None]] = []

    def __call__(self, scope: Scope) -> EarlyRejection | None:
        """Return the rejection of a request that would not be admitted; None if there is no overload."""
        path = scope["path"]
        if path not in _PATHS or scope["method"] != "POST" or self._is_draining():
            return None
        started_s = self._clock()
        try:
            state = self._provide()
        except NotReadyError:
            return None
        classifier = state.classifier
        if not classifier.is_overloaded or (state.settings.cors_origins and _has_origin(scope)):
            return None
        key = (path, scope["query_string"], *[value for name, value in scope["headers"] if name == _PRIORITY_HEADER])
        request_id = request_id_of(scope)
        rejection = self._last
        is_repeat = rejection is not None and rejection.key == key and started_s - rejection.made_s < REPEAT_S
        if not is_repeat:
            rejection = _reject(state, scope, key, started_s)
        if rejection is None:
            return None
        delay_s = 0.0
        if isinstance(rejection.error, OverloadedError):
            self._last = rejection
            delay_s = self._pacer.reserve(round_retry_after(rejection.error.retry_after_s))
        elapsed_s = self._clock() - started_s
        observe = partial(self._on_request, path, "POST", rejection.problem.status, elapsed_s + delay_s)
        if is_repeat:
            record = partial(
                classifier.record_rejection,
                rejection.error,
                request_id=request_id,
                model=rejection.model,
                received_at=datetime.now(UTC),
                total_ms=elapsed_s * 1000,
            )
            if not self._unrecorded:
                asyncio.get_running_loop().call_later(REPEAT_S, self._record)
            self._unrecorded += (record, observe)
        else:
            observe()
        return EarlyRejection(rejection.problem, request_id, delay_s, self._is_draining)

    def _record(self) -> None:
        unrecorded, self._unrecorded = self._unrecorded, []
        for record in unrecorded:
            record()


def _has_origin(scope: Scope) -> bool:
    """Tell whether a page of another origin asks: the gateway adds the CORS headers to its answer."""
    return any(name == b"origin" for name, _ in scope["headers"])


def _reject(state: AppState, scope: Scope, key: tuple[object, ...], started_s: float) -> _Repeatable | None:
    """Return the rejection that the application would send, or None if it would admit the request.

    An admission leaves no trace: it takes no place before it is entered.
    """
    model: str | None = None
    error: LightboxError
    try:
        if scope["path"] == explain.PATH:
            question = ExplainQuery.read(scope["query_string"])
            model = question.model
            explain.admit(state, Request(scope), question)
        else:
            query = ClassifyQuery.read(scope["query_string"])
            model = query.model
            classify.admit(state, Request(scope), query)
    except LightboxError as rejected:
        error = rejected
    else:
        return None
    return _Repeatable(key, model, error, RawProblem(describe_error(error, uuid.uuid4().hex)), started_s)
