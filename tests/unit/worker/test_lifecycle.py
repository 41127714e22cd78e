import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from starlette.types import Receive, Scope, Send

from bento_service.domain.service import ServiceState
from bento_service.errors import ModelLoadError, NotReadyError
from bento_service.http.in_flight import InFlightRequests
from bento_service.journal.base import JournalCounts
from bento_service.observability.metrics import Metrics
from bento_service.pipeline.classifier import Classifier
from bento_service.pipeline.wiring import Pipeline
from bento_service.settings import Settings
from bento_service.worker.lifecycle import Lifecycle
from bento_service.worker.shared_folder import StatusTable
from tests.fakes.clock import FakeTimeLoop
from tests.fakes.engine import FakeInfer
from tests.fakes.journal import FakeJournal
from tests.fakes.lightbox import opener
from tests.fakes.pipeline import encode_image, fake_clock, running
from tests.fakes.processes import dead_process_id
from tests.http.exchange import Exchange, http_scope

pytestmark = pytest.mark.anyio

DRAIN_S = 5.0
OWN, SIBLING = 1, 2


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": FakeTimeLoop}


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "bento_service")
    return caplog


@pytest.fixture
def table() -> StatusTable:
    return StatusTable.create(None, workers=2)


@pytest.fixture
def stops() -> Iterator[list[int]]:
    """The signals that have reached the server's own handler."""
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    yield received
    signal.signal(signal.SIGTERM, before)


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


def no_requests() -> InFlightRequests:
    async def answer_nothing(scope: Scope, receive: Receive, send: Send) -> None:
        """Nobody asks."""

    return InFlightRequests(answer_nothing)


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


async def terminate() -> None:
    signal.raise_signal(signal.SIGTERM)
    await settle()


def ready_workers(lifecycle: Lifecycle) -> float:
    (family,) = lifecycle.metrics.workers_ready.collect()
    return family.samples[0].value


def own_status(table: StatusTable) -> tuple[ServiceState, bool]:
    status = table.read(OWN)
    assert status is not None
    return status.state, status.is_accepting


@pytest.mark.parametrize("error", [OSError("/srv/model.onnx: no such file"), ModelLoadError("see /srv/model.onnx")])
async def test_a_worker_that_cannot_load_logs_why_and_exits_with_code_3(
    error: Exception, log: pytest.LogCaptureFixture
) -> None:
    exits: list[int] = []

    @asynccontextmanager
    async def fail(settings: Settings, metrics: Metrics) -> AsyncIterator[Pipeline]:
        raise error
        yield

    lifecycle = make_lifecycle(fail, exits=exits)
    await lifecycle.start(no_requests())
    await settle()

    assert exits == [3]
    assert "This worker cannot serve" in log.text
    assert "/srv/model.onnx" in log.text
    assert ready_workers(lifecycle) == 0
    await lifecycle.stop()


async def test_the_first_worker_accepts_connections_while_it_loads_and_says_that_it_is_not_ready(
    table: StatusTable,
) -> None:
    async with running({"a": FakeInfer()}) as observed:
        loading = Loading(observed.classifier)
        lifecycle = make_lifecycle(loading.open, table=table)
        await lifecycle.start(no_requests())

        assert own_status(table) == (ServiceState.LOADING, True)
        assert not lifecycle.is_ready()
        assert lifecycle.status().state is ServiceState.LOADING
        with pytest.raises(NotReadyError):
            lifecycle.app_state()

        loading.is_loaded.set()
        await settle()
        assert own_status(table) == (ServiceState.READY, True)
        assert lifecycle.is_ready()
        await lifecycle.stop()
        assert loading.is_closed


async def test_a_worker_that_is_started_beside_one_that_serves_loads_before_it_accepts_connections(
    table: StatusTable,
) -> None:
    table.write(SIBLING, ServiceState.READY, is_accepting=True)
    async with running({"a": FakeInfer()}) as observed:
        loading = Loading(observed.classifier)
        lifecycle = make_lifecycle(loading.open, table=table)
        starting = asyncio.create_task(lifecycle.start(no_requests()))
        await settle()
        assert own_status(table) == (ServiceState.LOADING, False)
        assert not starting.done()

        loading.is_loaded.set()
        await starting
        assert own_status(table) == (ServiceState.READY, True)
        await lifecycle.stop()


@pytest.mark.parametrize("is_beside_one_that_serves", [True, False])
async def test_a_worker_that_is_told_to_stop_while_it_loads_does_not_wait_for_that(
    is_beside_one_that_serves: bool, table: StatusTable, stops: list[int]
) -> None:
    if is_beside_one_that_serves:
        table.write(SIBLING, ServiceState.READY, is_accepting=True)
    async with running({"a": FakeInfer()}) as observed:
        loading = Loading(observed.classifier)
        lifecycle = make_lifecycle(loading.open, table=table)
        starting = asyncio.create_task(lifecycle.start(no_requests()))
        await settle()
        await terminate()

        assert starting.done()
        assert stops == [signal.SIGTERM]
        assert own_status(table) == (ServiceState.LOADING, False)
        loading.is_loaded.set()
        await lifecycle.stop()
        assert ready_workers(lifecycle) == 0
        assert not observed.classifier.is_draining, "the classifier was never opened"


async def test_a_worker_is_not_ready_while_requests_may_reach_one_that_still_loads(table: StatusTable) -> None:
    async with running({"a": FakeInfer()}) as observed:
        lifecycle = make_lifecycle(opener(observed.classifier), table=table)
        await lifecycle.start(no_requests())
        await settle()

        table.write(SIBLING, ServiceState.LOADING, is_accepting=True)
        is_ready = [lifecycle.is_ready()]
        table.write(SIBLING, ServiceState.LOADING, is_accepting=False)
        is_ready.append(lifecycle.is_ready())
        table.write(SIBLING, ServiceState.READY, is_accepting=True)
        is_ready.append(lifecycle.is_ready())
        await lifecycle.stop()

    assert is_ready == [False, True, True]


async def test_a_worker_renews_its_status(table: StatusTable) -> None:
    async with running({"a": FakeInfer()}) as observed:
        lifecycle = make_lifecycle(opener(observed.classifier), table=table)
        await lifecycle.start(no_requests())
        await settle()
        table.clear(OWN)
        fake_clock().advance(1)
        await settle()

        assert own_status(table) == (ServiceState.READY, True)
        await lifecycle.stop()


async def test_a_worker_whose_supervisor_has_died_stops(tmp_path: Path, stops: list[int]) -> None:
    file = tmp_path / "workers"
    StatusTable.create(file, workers=1)
    file.write_bytes(dead_process_id().to_bytes(4, "little") + file.read_bytes()[4:])
    async with running({"a": FakeInfer()}) as observed:
        lifecycle = make_lifecycle(Loading(observed.classifier).open, table=StatusTable.open(file))
        await lifecycle.start(no_requests())
        await settle()
        await lifecycle.stop()

    assert stops == [signal.SIGTERM]


async def test_a_worker_counts_as_ready_from_when_it_is_warm_until_it_drains(log: pytest.LogCaptureFixture) -> None:
    async with running({"a": FakeInfer()}) as observed:
        lifecycle = make_lifecycle(opener(observed.classifier))
        await lifecycle.start(no_requests())
        ready = [ready_workers(lifecycle)]
        await settle()
        ready.append(ready_workers(lifecycle))
        await lifecycle.stop()
        ready.append(ready_workers(lifecycle))

    assert ready == [0, 1, 0]
    assert log.messages[-1] == "Drained: every admitted request is answered and in the journal."


class LosingJournal(FakeJournal):
    """Drops three receipts between two counts."""

    dropped = 0

    def counts(self) -> JournalCounts:
        counts = JournalCounts(0, 0, self.dropped)
        self.dropped += 3
        return counts


async def test_a_stop_logs_the_images_and_receipts_that_it_left_undone(
    log: pytest.LogCaptureFixture, stops: list[int]
) -> None:
    infer = FakeInfer()
    async with running({"a": infer}) as observed:
        lifecycle = make_lifecycle(opener(observed.classifier, LosingJournal()))
        await lifecycle.start(no_requests())
        await settle()
        infer.gate.clear()
        request = await observed.start(encode_image())
        await terminate()
        fake_clock().advance(DRAIN_S)
        await settle()
        await lifecycle.stop()
        infer.gate.set()
        await request

    assert "0 open requests ended, 1 admitted images unanswered, 3 receipts lost" in log.messages[-1]
    assert "Drained" not in log.text


async def test_open_requests_are_ended_when_the_drains_time_is_up(
    log: pytest.LogCaptureFixture, stops: list[int]
) -> None:
    async with running({"a": FakeInfer()}) as observed:
        request = OpenRequest()
        lifecycle = make_lifecycle(opener(observed.classifier))
        await lifecycle.start(request.requests)
        await settle()
        await terminate()
        assert (lifecycle.state, stops) == (ServiceState.DRAINING, [])
        assert not request.task.done()
        fake_clock().advance(DRAIN_S)
        await settle()
        assert stops == [signal.SIGTERM]
        await lifecycle.stop()

    assert request.exchange.status == 503
    assert "1 open requests ended" in log.messages[-1]


async def test_the_server_stops_a_second_after_sigterm_and_once_open_requests_are_answered(
    table: StatusTable, stops: list[int]
) -> None:
    async with running({"a": FakeInfer()}) as observed:
        request = OpenRequest()
        lifecycle = make_lifecycle(opener(observed.classifier), table=table)
        await lifecycle.start(request.requests)
        await settle()
        await terminate()
        fake_clock().advance(1)
        await settle()
        seen = [(len(stops), own_status(table))]
        request.answer.set()
        await settle()
        seen.append((len(stops), own_status(table)))
        await lifecycle.stop()

    assert seen == [(0, (ServiceState.DRAINING, True)), (1, (ServiceState.DRAINING, False))]


async def test_an_idle_server_answers_for_a_second_before_it_stops(stops: list[int]) -> None:
    async with running({"a": FakeInfer()}) as observed:
        lifecycle = make_lifecycle(opener(observed.classifier))
        await lifecycle.start(no_requests())
        await settle()
        await terminate()
        seen = [len(stops)]
        fake_clock().advance(1)
        await settle()
        seen.append(len(stops))
        await lifecycle.stop()

    assert seen == [0, 1]


async def test_two_signals_as_of_ctrl_c_still_finish_open_requests_and_a_third_stops_the_server(
    stops: list[int],
) -> None:
    async with running({"a": FakeInfer()}) as observed:
        request = OpenRequest()
        lifecycle = make_lifecycle(opener(observed.classifier))
        await lifecycle.start(request.requests)
        await settle()
        seen = []
        for _ in range(3):
            await terminate()
            seen.append(len(stops))
        request.answer.set()
        await settle()
        await lifecycle.stop()

    assert seen == [0, 0, 1]


async def test_an_idle_server_stops_at_the_second_signal(stops: list[int]) -> None:
    async with running({"a": FakeInfer()}) as observed:
        lifecycle = make_lifecycle(opener(observed.classifier))
        await lifecycle.start(no_requests())
        await settle()
        await terminate()
        await terminate()
        assert len(stops) == 1
        await lifecycle.stop()
