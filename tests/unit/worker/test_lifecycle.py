import asyncio
import logging
import signal

import pytest
from prometheus_client import CollectorRegistry
from starlette.types import Receive, Scope, Send

from bento_service.domain.service import ServiceState
from bento_service.errors import ModelLoadError, NotReadyError
from bento_service.http.in_flight import InFlightRequests
from bento_service.observability.metrics import Metrics
from bento_service.pipeline.pipeline import Leftovers, Pipeline
from bento_service.settings import Settings
from bento_service.worker.lifecycle import Lifecycle
from tests.fakes.clock import FakeTimeLoop
from tests.fakes.engine import FakeInfer
from tests.fakes.lightbox import FakeLightbox
from tests.fakes.pipeline import fake_clock, running
from tests.http.exchange import Exchange, http_scope

pytestmark = pytest.mark.anyio

DRAIN_S = 5.0


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": FakeTimeLoop}


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "bento_service")
    return caplog


def make_lifecycle(outcome: Pipeline | Exception) -> Lifecycle:
    async def open_pipeline(settings: Settings, metrics: Metrics) -> Pipeline:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return Lifecycle(
        Settings(drain_timeout_s=DRAIN_S),
        Metrics(CollectorRegistry()),
        open_pipeline=open_pipeline,
        settle=lambda: None,
    )


def no_requests() -> InFlightRequests:
    async def answer_nothing(scope: Scope, receive: Receive, send: Send) -> None:
        """Nobody asks."""

    return InFlightRequests(answer_nothing)


class Open:
    """A request that is open until it is answered, or ended."""

    def __init__(self) -> None:
        self.answer = asyncio.Event()
        self.requests = InFlightRequests(self._wait)
        self.exchange = Exchange()
        self.task = asyncio.create_task(self.exchange.run(self.requests, http_scope("POST", "/")))

    async def _wait(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.answer.wait()


class Server:
    """The server's own handler of SIGTERM, and the signal."""

    def __init__(self) -> None:
        self.signals = 0

    def __enter__(self) -> "Server":
        self._before = signal.signal(signal.SIGTERM, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def _stop(self, number: int, frame: object) -> None:
        self.signals += 1

    async def terminate(self) -> None:
        signal.raise_signal(signal.SIGTERM)
        await turns()


async def turns() -> None:
    """Lets the loop do what is due."""
    for _ in range(10):
        await asyncio.sleep(0)


def ready_workers(lifecycle: Lifecycle) -> float:
    (family,) = lifecycle.metrics.workers_ready.collect()
    return family.samples[0].value


@pytest.mark.parametrize("error", [OSError("/srv/secret.onnx: no such file"), ModelLoadError("see /srv/secret.onnx")])
async def test_why_a_worker_could_not_start_is_for_its_log_and_not_for_clients(
    error: Exception, log: pytest.LogCaptureFixture
) -> None:
    lifecycle = make_lifecycle(error)
    lifecycle.start(no_requests())
    await asyncio.sleep(0)

    with pytest.raises(NotReadyError) as refusal:
        lifecycle.edge()

    assert lifecycle.state is ServiceState.FAILED
    assert "secret" not in refusal.value.message
    assert "secret" in log.text
    await lifecycle.stop()


async def test_a_drain_that_left_nothing_says_so(log: pytest.LogCaptureFixture) -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        lifecycle = make_lifecycle(FakeLightbox(kitchen.classifier))
        lifecycle.start(no_requests())
        await asyncio.sleep(0)
        await lifecycle.stop()

    assert log.messages[-1] == "Drained: every admitted request is answered and in the journal."


async def test_a_worker_counts_as_ready_from_when_it_is_warm_until_it_drains() -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        lifecycle = make_lifecycle(FakeLightbox(kitchen.classifier))
        lifecycle.start(no_requests())
        ready = [ready_workers(lifecycle)]
        await asyncio.sleep(0)
        ready.append(ready_workers(lifecycle))
        await lifecycle.stop()
        ready.append(ready_workers(lifecycle))

    assert ready == [0, 1, 0]


async def test_a_worker_that_could_not_start_never_counts_as_ready() -> None:
    lifecycle = make_lifecycle(ModelLoadError("no such model"))
    lifecycle.start(no_requests())
    await asyncio.sleep(0)

    assert lifecycle.state is ServiceState.FAILED
    assert ready_workers(lifecycle) == 0
    await lifecycle.stop()


@pytest.mark.parametrize("leftovers", [Leftovers(unanswered=2, unwritten=0), Leftovers(unanswered=0, unwritten=3)])
async def test_what_a_stop_left_undone_is_logged_as_it_is(leftovers: Leftovers, log: pytest.LogCaptureFixture) -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        lifecycle = make_lifecycle(FakeLightbox(kitchen.classifier, leftovers))
        lifecycle.start(no_requests())
        await asyncio.sleep(0)
        await lifecycle.stop()

    left = f"{leftovers.unanswered} admitted images unanswered, {leftovers.unwritten} receipts lost"
    assert left in log.messages[-1]
    assert "Drained" not in log.text


async def test_open_requests_are_ended_once_the_drains_time_is_up_and_counted(log: pytest.LogCaptureFixture) -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        with Server() as server:
            request = Open()
            lifecycle = make_lifecycle(FakeLightbox(kitchen.classifier))
            lifecycle.start(request.requests)
            await turns()
            await server.terminate()
            assert (lifecycle.state, server.signals) == (ServiceState.DRAINING, 0)
            assert not request.task.done()
            fake_clock().advance(DRAIN_S)
            await turns()
            assert server.signals == 1
        await lifecycle.stop()

    assert request.exchange.status == 503
    assert "1 open requests ended" in log.messages[-1]


async def test_the_server_stops_once_what_was_open_is_answered_and_idle_connections_had_a_second_to_hear() -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        with Server() as server:
            request = Open()
            lifecycle = make_lifecycle(FakeLightbox(kitchen.classifier))
            lifecycle.start(request.requests)
            await turns()
            await server.terminate()
            fake_clock().advance(1)
            await turns()
            stopped = [server.signals]
            request.answer.set()
            await turns()
            stopped.append(server.signals)
        await lifecycle.stop()

    assert stopped == [0, 1]


async def test_an_idle_server_answers_for_a_second_before_it_stops() -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        with Server() as server:
            lifecycle = make_lifecycle(FakeLightbox(kitchen.classifier))
            lifecycle.start(no_requests())
            await turns()
            await server.terminate()
            stopped = [server.signals]
            fake_clock().advance(1)
            await turns()
            stopped.append(server.signals)
        await lifecycle.stop()

    assert stopped == [0, 1]


async def test_a_server_that_is_told_twice_as_by_ctrl_c_still_finishes_what_is_open_and_more_often_stops() -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        with Server() as server:
            request = Open()
            lifecycle = make_lifecycle(FakeLightbox(kitchen.classifier))
            lifecycle.start(request.requests)
            await turns()
            stopped = []
            for _ in range(3):
                await server.terminate()
                stopped.append(server.signals)
            request.answer.set()
            await turns()
        await lifecycle.stop()

    assert stopped == [0, 0, 1]


async def test_an_idle_server_that_is_told_twice_stops_at_once() -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        with Server() as server:
            lifecycle = make_lifecycle(FakeLightbox(kitchen.classifier))
            lifecycle.start(no_requests())
            await turns()
            await server.terminate()
            await server.terminate()
            assert server.signals == 1
        await lifecycle.stop()


async def test_a_worker_that_is_told_to_stop_while_it_loads_never_admits_an_image() -> None:
    is_loaded = asyncio.Event()
    async with running({"a": FakeInfer()}) as kitchen:

        async def open_pipeline(settings: Settings, metrics: Metrics) -> Pipeline:
            await is_loaded.wait()
            return FakeLightbox(kitchen.classifier)

        lifecycle = Lifecycle(
            Settings(), Metrics(CollectorRegistry()), open_pipeline=open_pipeline, settle=lambda: None
        )
        before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        lifecycle.start(no_requests())
        signal.raise_signal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)
        await asyncio.sleep(0)
        is_loaded.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

        assert lifecycle.state is ServiceState.DRAINING
        assert ready_workers(lifecycle) == 0
        await lifecycle.stop()
