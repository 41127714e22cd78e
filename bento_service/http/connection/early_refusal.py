"""Refuses a classification for overload as its headers arrive, before a task of the application is started for it."""

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
"""How long the figures of a refusal (images ahead, predicted wait) are repeated to requests that ask for the same; also
the longest time until these are recorded."""
_PATHS = frozenset({PATH, BENTO_PATH})
_PRIORITY_HEADER = PRIORITY_HEADER.lower().encode()


class EarlyRefusal(NamedTuple):
    """A problem, the id to send it under, and the seconds from now until it is to be sent.

    If `is_draining` returns true when the problem is sent, the connection is closed after it.
    """

    problem: RawProblem
    request_id: str
    hold_s: float
    is_draining: Callable[[], bool]


RefuseEarly = Callable[[Scope], EarlyRefusal | None]
"""Returns a request's refusal by its headers, or None where the application is to answer it."""


def never_refuse(scope: Scope) -> None:
    """Leave every request to the application."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why a request was refused, and the problem that says so; `key` tells apart what requests ask for."""

    key: tuple[object, ...]
    model: str | None
    error: LightboxError
    problem: RawProblem
    made_s: float


class _Repeat(NamedTuple):
    """A request that got another's refusal, not yet recorded."""

    classifier: Classifier
    refusal: _Refusal
    path: str
    request_id: str
    received_at: datetime
    elapsed_s: float
    hold_s: float


class EarlyRefusals:
    """A `RefuseEarly` for the calls that take one image. Used on one event loop.

    Under overload most requests are refused. Beside running models, whose work empties the CPU's caches, the code of
    one refusal takes three times as long as in a tight loop. So a refusal is made once, by the same call as in the
    application, and repeated for `REPEAT_S` to requests that ask for the same; their receipts and metrics are written
    together.
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
        """Return the refusal of a request that is not admitted while there is an overload."""
        path = scope["path"]
        if path not in _PATHS or scope["method"] != "POST" or self._is_draining():
            return None
        started_s = self._clock()
        try:
            edge = self._provide()
        except NotReadyError:
            return None
        if not edge.classifier.is_overloaded or (edge.settings.cors_origins and _has_origin(scope)):
            return None
        key = (scope["query_string"], *[value for name, value in scope["headers"] if name == _PRIORITY_HEADER])
        request_id = request_id_of(scope)
        refusal = self._last
        is_repeat = refusal is not None and refusal.key == key and started_s - refusal.made_s < REPEAT_S
        if not is_repeat:
            refusal = _refuse(edge, scope, key, started_s)
        if refusal is None:
            return None
        hold_s = 0.0
        if isinstance(refusal.error, OverloadedError):
            self._last = refusal
            hold_s = self._pacer.reserve(round_retry_after(refusal.error.retry_after_s))
        elapsed_s = self._clock() - started_s
        if is_repeat:
            self._note(_Repeat(edge.classifier, refusal, path, request_id, datetime.now(UTC), elapsed_s, hold_s))
        else:
            self._on_request(path, "POST", refusal.problem.status, elapsed_s + hold_s)
        return EarlyRefusal(refusal.problem, request_id, hold_s, self._is_draining)

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
            status, seconds = repeat.refusal.problem.status, repeat.elapsed_s + repeat.hold_s
            self._on_request(repeat.path, "POST", status, seconds)


def _has_origin(scope: Scope) -> bool:
    """Tell whether a page of another origin asks: its answer needs headers, which the guard adds."""
    return any(name == b"origin" for name, _ in scope["headers"])


def _refuse(edge: AppState, scope: Scope, key: tuple[object, ...], started_s: float) -> _Refusal | None:
    """Admit a request as the application would, and return its refusal; None where it is admitted.

    An admission leaves no trace: it takes no place before it is entered.
    """
    model: str | None = None
    error: LightboxError
    try:
        query = ClassifyQuery.read(scope["query_string"])
        model = query.model
        admit(edge, Request(scope), query)
    except LightboxError as refused:
        error = refused
    else:
        return None
    return _Refusal(key, model, error, RawProblem(describe_error(error, uuid.uuid4().hex)), started_s)
