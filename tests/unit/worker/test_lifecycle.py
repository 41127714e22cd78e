import logging
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bento_service.domain.service import ServiceState
from bento_service.errors import ModelLoadError, NotReadyError
from bento_service.http.in_flight import InFlightRequests
from bento_service.journal.base import JournalCounts
from bento_service.observability.metrics import Metrics
from bento_service.pipeline.wiring import Pipeline
from bento_service.settings import Settings
from bento_service.worker.shared_folder import StatusTable
from tests.fakes.clock import FakeTimeLoop
from tests.fakes.journal import FakeJournal
from tests.fakes.pipeline import encode_image
from tests.fakes.processes import dead_process_id
from tests.unit.worker.workers import (
    DRAIN_S,
    OWN,
    SIBLING,
    OpenRequest,
    answer_nothing,
    loading_worker,
    make_lifecycle,
    own_status,
    pass_s,
    ready_worker,
    ready_workers,
    settle,
    terminate,
)

pytestmark = pytest.mark.anyio


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
    await lifecycle.start(InFlightRequests(answer_nothing))
    await settle()
    await lifecycle.stop()

    assert exits == [3]
    assert "This worker cannot serve" in log.text
    assert "/srv/model.onnx" in log.text
    assert ready_workers(lifecycle) == 0


async def test_the_first_worker_accepts_connections_while_it_loads(table: StatusTable) -> None:
    async with loading_worker(table) as (lifecycle, loading, starting):
        assert starting.done()
        assert own_status(table) == (ServiceState.LOADING, True)
        assert not lifecycle.is_ready()
        assert lifecycle.status().state is ServiceState.LOADING
        assert ready_workers(lifecycle) == 0
        with pytest.raises(NotReadyError):
            lifecycle.app_state()

        loading.is_loaded.set()
        await settle()
        assert own_status(table) == (ServiceState.READY, True)
        assert lifecycle.is_ready()
        assert ready_workers(lifecycle) == 1
    assert loading.is_closed
    assert ready_workers(lifecycle) == 0


async def test_a_worker_beside_a_ready_one_loads_before_it_accepts(table: StatusTable) -> None:
    table.write(SIBLING, ServiceState.READY, is_accepting=True)
    async with loading_worker(table) as (_, loading, starting):
        assert own_status(table) == (ServiceState.LOADING, False)
        assert not starting.done()

        loading.is_loaded.set()
        await starting
        assert own_status(table) == (ServiceState.READY, True)


@pytest.mark.parametrize("is_beside_one_that_serves", [True, False])
async def test_a_worker_that_loads_stops_at_once(
    is_beside_one_that_serves: bool, table: StatusTable, stops: list[int]
) -> None:
    if is_beside_one_that_serves:
        table.write(SIBLING, ServiceState.READY, is_accepting=True)
    async with loading_worker(table) as (lifecycle, loading, starting):
        await terminate()

        assert starting.done()
        assert stops == [signal.SIGTERM]
        assert own_status(table) == (ServiceState.LOADING, False)
    assert ready_workers(lifecycle) == 0
    assert not loading.is_closed, "the pipeline was never opened"


async def test_a_worker_is_not_ready_beside_one_that_accepts_and_loads(table: StatusTable) -> None:
    async with ready_worker(table) as (lifecycle, _, _):
        is_ready = []
        for state, is_accepting in (
            (ServiceState.LOADING, True),
            (ServiceState.LOADING, False),
            (ServiceState.READY, True),
        ):
            table.write(SIBLING, state, is_accepting=is_accepting)
            is_ready.append(lifecycle.is_ready())

    assert is_ready == [False, True, True]


async def test_a_worker_renews_its_status(table: StatusTable) -> None:
    async with ready_worker(table):
        table.clear(OWN)
        await pass_s(1)

        assert own_status(table) == (ServiceState.READY, True)


async def test_a_worker_whose_supervisor_has_died_stops(tmp_path: Path, stops: list[int]) -> None:
    file = tmp_path / "workers"
    StatusTable.create(file, workers=1)
    file.write_bytes(dead_process_id().to_bytes(4, "little") + file.read_bytes()[4:])
    async with loading_worker(StatusTable.open(file)):
        assert stops == [signal.SIGTERM]


async def test_a_stop_that_leaves_nothing_undone_says_so(log: pytest.LogCaptureFixture) -> None:
    async with ready_worker():
        """Nobody asks."""

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
    async with ready_worker(journal=LosingJournal()) as (lifecycle, observed, infer):
        infer.gate.clear()
        image = await observed.start(encode_image())
        await terminate()
        await pass_s(DRAIN_S)
        await lifecycle.stop()
        infer.gate.set()
        await image
        assert "0 open requests ended, 1 admitted images unanswered, 3 receipts lost" in log.messages[-1]
        assert "Drained" not in log.text


async def test_open_requests_are_ended_when_the_drains_time_is_up(
    log: pytest.LogCaptureFixture, stops: list[int]
) -> None:
    request = OpenRequest()
    async with ready_worker(request=request) as (lifecycle, _, _):
        await terminate()
        assert (lifecycle.state, stops) == (ServiceState.DRAINING, [])
        assert not request.task.done()
        await pass_s(DRAIN_S)
        assert stops == [signal.SIGTERM]

    assert request.exchange.status == 503
    assert "1 open requests ended" in log.messages[-1]


@pytest.mark.parametrize("has_request", [True, False])
async def test_a_server_stops_after_a_second_and_its_open_requests(
    has_request: bool, table: StatusTable, stops: list[int]
) -> None:
    request = OpenRequest()
    async with ready_worker(table, request if has_request else None):
        await terminate()
        seen = [(len(stops), own_status(table))]
        if has_request:
            await pass_s(1)
            seen.append((len(stops), own_status(table)))
            request.answer.set()
            await settle()
        else:
            await pass_s(1)
        seen.append((len(stops), own_status(table)))

    draining = (0, (ServiceState.DRAINING, True))
    assert seen == [draining] * (2 if has_request else 1) + [(1, (ServiceState.DRAINING, False))]


async def test_a_third_signal_stops_the_server_at_once(stops: list[int]) -> None:
    request = OpenRequest()
    seen = []
    async with ready_worker(request=request):
        for _ in range(3):
            await terminate()
            seen.append(len(stops))
        request.answer.set()
        await settle()

    assert seen == [0, 0, 1]


async def test_an_idle_server_stops_at_the_second_signal(stops: list[int]) -> None:
    async with ready_worker():
        await terminate()
        await terminate()
        assert len(stops) == 1


class BrokenRequests(InFlightRequests):
    """Requests that cannot be waited for."""

    async def finish(self) -> None:
        raise RuntimeError("the handler is closed")


async def test_the_server_stops_even_if_waiting_for_requests_fails(
    stops: list[int], log: pytest.LogCaptureFixture
) -> None:
    request = OpenRequest()
    request.requests = BrokenRequests(answer_nothing)
    async with ready_worker(request=request):
        await terminate()
        request.answer.set()
        assert stops == [signal.SIGTERM]
    assert "the handler is closed" in log.text
