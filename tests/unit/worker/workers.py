"""A worker over a real classifier and a fake model, on a clock that the test moves."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

from prometheus_client import CollectorRegistry
from starlette.types import Receive, Scope, Send

from bento_service.domain.service import ServiceState
from bento_service.http.in_flight import InFlightRequests
from bento_service.machine import Division
from bento_service.observability.metrics import Metrics
from bento_service.pipeline.classifier import Classifier
from bento_service.pipeline.wiring import Pipeline
from bento_service.settings import Settings
from bento_service.worker.lifecycle import Lifecycle
from bento_service.worker.shared_folder import StatusTable
from tests.fakes.engine import FakeInfer
from tests.fakes.journal import FakeJournal
from tests.fakes.model_control import FakeModelControl
from tests.fakes.pipeline import ObservedClassifier, fake_clock, running
from tests.http.exchange import Exchange, http_scope

DRAIN_S = 5.0
OWN, SIBLING = 1, 2


def opener(
    classifier: Classifier, journal: FakeJournal | None = None
) -> Callable[[Settings, Metrics], AbstractAsyncContextManager[Pipeline]]:
    """Return what opens a pipeline around the classifier, which it does not close."""

    @asynccontextmanager
    async def open_pipeline(settings: Settings, metrics: Metrics) -> AsyncIterator[Pipeline]:
        nothing = cast("Any", None)
        division = Division(lanes=1, decode_threads=1, compute_threads=1)
        models = cast("Any", FakeModelControl())
        yield Pipeline(settings, classifier, models, nothing, division, None, journal or FakeJournal(), 0.0)

    return open_pipeline


def make_lifecycle(
    open_pipeline: Callable[[Settings, Metrics], AbstractAsyncContextManager[Pipeline]],
    *,
    table: StatusTable | None = None,
    exits: list[int] | None = None,
) -> Lifecycle:
    kept: list[int] = [] if exits is None else exits
    return Lifecycle(
        Settings(drain_timeout_s=DRAIN_S),
        Metrics(CollectorRegistry()),
        open_pipeline=open_pipeline,
        table=table,
        number=OWN,
        tune=lambda: None,
        exit_process=kept.append,
    )


class Loading:
    """Opens a pipeline once `is_loaded` is set."""

    def __init__(self, classifier: Classifier) -> None:
        self.is_loaded = asyncio.Event()
        self.is_closed = False
        self._open = opener(classifier)

    @asynccontextmanager
    async def open(self, settings: Settings, metrics: Metrics) -> AsyncIterator[Pipeline]:
        await self.is_loaded.wait()
        async with self._open(settings, metrics) as pipeline:
            yield pipeline
        self.is_closed = True


async def answer_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """Nobody asks."""


class OpenRequest:
    """A request that is open until it is answered, or ended."""

    def __init__(self) -> None:
        self.answer = asyncio.Event()
        self.requests = InFlightRequests(self._wait)
        self.exchange = Exchange()
        self.task = asyncio.create_task(self.exchange.run(self.requests, http_scope("POST", "/")))

    async def _wait(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.answer.wait()


async def settle() -> None:
    """Lets the loop do what is due."""
    for _ in range(20):
        await asyncio.sleep(0)


async def pass_s(seconds: float) -> None:
    fake_clock().advance(seconds)
    await settle()


async def terminate() -> None:
    signal.raise_signal(signal.SIGTERM)
    await settle()


@asynccontextmanager
async def loading_worker(table: StatusTable) -> AsyncIterator[tuple[Lifecycle, Loading, "asyncio.Task[None]"]]:
    """Starts a worker whose models load until the test says otherwise; stops it at the end."""
    async with running({"a": FakeInfer()}) as observed:
        loading = Loading(observed.classifier)
        lifecycle = make_lifecycle(loading.open, table=table)
        starting = asyncio.create_task(lifecycle.start(InFlightRequests(answer_nothing)))
        await settle()
        yield lifecycle, loading, starting
        loading.is_loaded.set()
        await starting
        await lifecycle.stop()


@asynccontextmanager
async def ready_worker(
    table: StatusTable | None = None, request: OpenRequest | None = None, journal: FakeJournal | None = None
) -> AsyncIterator[tuple[Lifecycle, ObservedClassifier, FakeInfer]]:
    """Starts a worker and waits until its models are warm; stops it at the end."""
    infer = FakeInfer()
    async with running({"a": infer}) as observed:
        lifecycle = make_lifecycle(opener(observed.classifier, journal), table=table)
        await lifecycle.start(request.requests if request else InFlightRequests(answer_nothing))
        await settle()
        yield lifecycle, observed, infer
        await lifecycle.stop()


def ready_workers(lifecycle: Lifecycle) -> float:
    (family,) = lifecycle.metrics.workers_ready.collect()
    return family.samples[0].value


def own_status(table: StatusTable) -> tuple[ServiceState, bool]:
    status = table.read(OWN)
    assert status is not None
    return status.state, status.is_accepting
