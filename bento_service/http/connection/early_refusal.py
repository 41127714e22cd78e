"""Rejects images for overload as soon as their request's headers arrive, without a task of the application."""

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from starlette.requests import Request
from starlette.types import Scope

from bento_service.errors import LightboxError, NotReadyError, OverloadedError
from bento_service.http.connection.raw_problem import RawProblem
from bento_service.http.connection.refusal_pacer import RefusalPacer
from bento_service.http.requests.headers import PRIORITY_HEADER, request_id_of
from bento_service.http.requests.parameters import ClassifyQuery
from bento_service.http.responses.problems import describe_error, round_retry_after
from bento_service.http.routes.classify import BENTO_PATH, PATH, admit
from bento_service.http.state import AppState, OnRequest, StateProvider
from bento_service.pipeline.classifier import Classifier

REPEAT_S = 0.1
"""How long a refusal, with its figures, is repeated to requests that ask for the same, and the longest time until those
are recorded."""
_PATHS = frozenset({PATH, BENTO_PATH})
_PRIORITY_HEADER = PRIORITY_HEADER.lower().encode()


class EarlyRefusal(NamedTuple):
    """A problem, the request id to send it under, and the seconds to wait before it is sent.

    The connection is closed after it if `is_draining` then returns true.
    """

    problem: RawProblem
    request_id: str
    delay_s: float
    is_draining: Callable[[], bool]


RefuseEarly = Callable[[Scope], EarlyRefusal | None]
"""Returns a request's refusal by its headers, or None if the application answers it."""


def never_refuse(scope: Scope) -> None:
    """Leave every request to the application."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why a request was refused, and the problem that says so. Requests with the same `key` ask for the same."""

    key: tuple[object, ...]
    model: str | None
    error: LightboxError
    problem: RawProblem
    made_s: float


class _Repeat(NamedTuple):
    """A request that was refused with the problem of an earlier one, and is not yet recorded."""

    classifier: Classifier
    refusal: _Refusal
    path: str
    request_id: str
    received_at: datetime
    elapsed_s: float
    delay_s: float


class EarlyRefusals:
    """A `RefuseEarly` for the calls that take one image. Used on one event loop.

    Beside running models, which empty the CPU's caches, making one refusal takes three times as long as in a tight
    loop. So a refusal is made once, by the same call as in the application, and repeated for `REPEAT_S` to requests
    that ask for the same; their receipts and metrics are written together (ADR 19).
    """

    def __init__(
        self,
        provide: StateProvider,
        *,
        pacer: RefusalPacer,
        on_request: OnRequest,
        is_draining: Callable[[], bool],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Refuse nothing while `provide` raises `NotReadyError` or `is_draining` returns true."""
        self._provide = provide
        self._pacer = pacer
        self._on_request = on_request
        self._is_draining = is_draining
        self._clock = clock
        self._last: _Refusal | None = None
        self._repeats: list[_Repeat] = []

    def __call__(self, scope: Scope) -> EarlyRefusal | None:
        """Return the refusal of a request that would not be admitted; None if there is no overload."""
        path = scope["path"]
        if path not in _PATHS or scope["method"] != "POST" or self._is_draining():
            return None
        started_s = self._clock()
        try:
            state = self._provide()
        except NotReadyError:
            return None
        if not state.classifier.is_overloaded or (state.settings.cors_origins and _has_origin(scope)):
            return None
        key = (scope["query_string"], *[value for name, value in scope["headers"] if name == _PRIORITY_HEADER])
        request_id = request_id_of(scope)
        refusal = self._last
        is_repeat = refusal is not None and refusal.key == key and started_s - refusal.made_s < REPEAT_S
        if not is_repeat:
            refusal = _refuse(state, scope, key, started_s)
        if refusal is None:
            return None
        delay_s = 0.0
        if isinstance(refusal.error, OverloadedError):
            self._last = refusal
            delay_s = self._pacer.reserve(round_retry_after(refusal.error.retry_after_s))
        elapsed_s = self._clock() - started_s
        if is_repeat:
            self._note(_Repeat(state.classifier, refusal, path, request_id, datetime.now(UTC), elapsed_s, delay_s))
        else:
            self._on_request(path, "POST", refusal.problem.status, elapsed_s + delay_s)
        return EarlyRefusal(refusal.problem, request_id, delay_s, self._is_draining)

    def _note(self, repeat: _Repeat) -> None:
        self._repeats.append(repeat)
        if len(self._repeats) == 1:
            asyncio.get_running_loop().call_later(REPEAT_S, self._record)

    def _record(self) -> None:
        repeats, self._repeats = self._repeats, []
        for repeat in repeats:
            repeat.classifier.record_refusal(
                repeat.refusal.error,
                request_id=repeat.request_id,
                model=repeat.refusal.model,
                received_at=repeat.received_at,
                total_ms=repeat.elapsed_s * 1000,
            )
            status, seconds = repeat.refusal.problem.status, repeat.elapsed_s + repeat.delay_s
            self._on_request(repeat.path, "POST", status, seconds)


def _has_origin(scope: Scope) -> bool:
    """Tell whether a page of another origin asks: its answer needs the headers of CORS, which the gateway adds."""
    return any(name == b"origin" for name, _ in scope["headers"])


def _refuse(state: AppState, scope: Scope, key: tuple[object, ...], started_s: float) -> _Refusal | None:
    """Admit a request as the application would, and return its refusal; None where it is admitted.

    An admission leaves no trace: it takes no place before it is entered.
    """
    model: str | None = None
    error: LightboxError
    try:
        query = ClassifyQuery.read(scope["query_string"])
        model = query.model
        admit(state, Request(scope), query)
    except LightboxError as refused:
        error = refused
    else:
        return None
    return _Refusal(key, model, error, RawProblem(describe_error(error, uuid.uuid4().hex)), started_s)
