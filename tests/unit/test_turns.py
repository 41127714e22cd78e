"""When a worker may accept connections beside its siblings."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from starlette.types import Receive, Scope, Send

from bento_service.classifier import Classifier
from bento_service.errors import ModelLoadError, NotReadyError
from bento_service.heartbeat import Heartbeat
from bento_service.http.open_requests import OpenRequests
from bento_service.lifecycle import Lifecycle
from bento_service.lightbox import Lightbox
from bento_service.metrics import Metrics
from bento_service.settings import Settings
from bento_service.status import ServiceState
from tests.fakes.clock import FakeTimeLoop
from tests.fakes.engine import FakeInfer
from tests.fakes.lightbox import FakeLightbox
from tests.fakes.pipeline import running
from tests.fakes.processes import living_process

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": FakeTimeLoop}


def no_requests() -> OpenRequests:
    async def answer_nothing(scope: Scope, receive: Receive, send: Send) -> None:
        """Nobody asks."""

    return OpenRequests(answer_nothing)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the workers of a service meet."""
    return tmp_path / "workers"


class Sibling:
    """Another worker, which accepts connections."""

    def __init__(self, folder: Path, process_id: int) -> None:
        self._folder = folder
        self._process_id = process_id

    def say(self, state: ServiceState) -> None:
        heartbeat = Heartbeat(self._folder, workers=2, state=lambda: state, worker_id=self._process_id)
        heartbeat.is_accepting = True
        heartbeat.renew()


@pytest.fixture
def sibling(folder: Path) -> Iterator[Sibling]:
    """One that lives, and has said nothing yet."""
    with living_process() as process_id:
        yield Sibling(folder, process_id)


class Loading:
    """A worker whose models load until `is_loaded` is set."""

    def __init__(self, classifier: Classifier, folder: Path, *, retry_failed_s: float = 60) -> None:
        self.is_loaded = asyncio.Event()
        self._classifier = classifier
        self.lifecycle = Lifecycle(
            Settings(heartbeat_dir=folder),
            Metrics(CollectorRegistry()),
            open_lightbox=self._open,
            settle=lambda: None,
            retry_failed_s=retry_failed_s,
        )
        self.lifecycle.start(no_requests())

    async def _open(self, settings: Settings, metrics: Metrics) -> Lightbox:
        await self.is_loaded.wait()
        return FakeLightbox(self._classifier)


async def test_a_worker_says_where_it_stands_until_it_is_gone(folder: Path) -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        loading = Loading(kitchen.classifier, folder)
        await loading.lifecycle.wait_for_turn()
        said = [json.loads((folder / f"{os.getpid()}.json").read_text())]
        loading.is_loaded.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await loading.lifecycle.wait_for_turn()
        said.append(json.loads((folder / f"{os.getpid()}.json").read_text()))
        await loading.lifecycle.stop()
        await asyncio.sleep(0)

    workers = Settings().worker_count
    assert said == [
        {"state": "loading", "workers": workers, "is_accepting": True},
        {"state": "ready", "workers": workers, "is_accepting": True},
    ]
    assert os.listdir(folder) == []  # noqa: PTH208 - a path's own would count as blocking


async def test_the_first_worker_accepts_connections_at_once(folder: Path) -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        loading = Loading(kitchen.classifier, folder)
        await loading.lifecycle.wait_for_turn()

        assert loading.lifecycle.state is ServiceState.LOADING
        loading.is_loaded.set()
        await loading.lifecycle.stop()


async def test_a_worker_that_comes_back_to_others_that_serve_loads_before_it_accepts_connections(
    folder: Path, sibling: Sibling
) -> None:
    sibling.say(ServiceState.READY)
    async with running({"a": FakeInfer()}) as kitchen:
        loading = Loading(kitchen.classifier, folder)
        turn = asyncio.create_task(loading.lifecycle.wait_for_turn())
        for _ in range(3):
            await asyncio.sleep(0)
        assert not turn.done()

        loading.is_loaded.set()
        await turn
        assert loading.lifecycle.is_ready()
        await loading.lifecycle.stop()


async def test_a_worker_is_not_ready_while_requests_may_reach_one_that_still_loads(
    folder: Path, sibling: Sibling
) -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        loading = Loading(kitchen.classifier, folder)
        loading.is_loaded.set()
        await loading.lifecycle.wait_for_turn()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert loading.lifecycle.is_ready()

        sibling.say(ServiceState.LOADING)
        assert not loading.lifecycle.is_ready()
        sibling.say(ServiceState.READY)
        assert loading.lifecycle.is_ready()
        await loading.lifecycle.stop()


class Failing(Loading):
    """A worker whose models cannot be had."""

    async def _open(self, settings: Settings, metrics: Metrics) -> Lightbox:
        raise ModelLoadError("no such file", model="a")


async def test_a_worker_that_cannot_load_leaves_the_connections_to_those_that_serve(
    folder: Path, sibling: Sibling
) -> None:
    sibling.say(ServiceState.READY)
    async with running({"a": FakeInfer()}) as kitchen:
        failing = Failing(kitchen.classifier, folder, retry_failed_s=0)

        with pytest.raises(NotReadyError):
            await failing.lifecycle.wait_for_turn()

        said = json.loads((folder / f"{os.getpid()}.json").read_text())
        assert (said["state"], said["is_accepting"]) == ("failed", False)
        await failing.lifecycle.stop()


async def test_a_worker_that_cannot_load_says_so_where_nobody_else_serves(folder: Path) -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        failing = Failing(kitchen.classifier, folder, retry_failed_s=0)

        await failing.lifecycle.wait_for_turn()

        said = json.loads((folder / f"{os.getpid()}.json").read_text())
        assert said["is_accepting"]
        await failing.lifecycle.stop()
