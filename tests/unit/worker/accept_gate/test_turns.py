"""When a worker may accept connections beside its siblings."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from bento_service.domain.service import ServiceState
from bento_service.settings import Settings
from tests.fakes.engine import FakeInfer
from tests.fakes.pipeline import running
from tests.unit.worker.accept_gate.workers import Loading, Sibling, let_pass, said_by_itself, settle

pytestmark = pytest.mark.anyio


async def test_a_worker_says_where_it_stands_until_it_is_gone(folder: Path) -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        loading = Loading(kitchen.classifier, folder)
        await loading.lifecycle.wait_for_turn()
        said = [said_by_itself(folder)]
        loading.is_loaded.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await loading.lifecycle.wait_for_turn()
        said.append(said_by_itself(folder))
        await loading.lifecycle.stop()
        await asyncio.sleep(0)

    workers = Settings().worker_count
    assert said == [
        {"state": "loading", "workers": workers, "is_accepting": True},
        {"state": "ready", "workers": workers, "is_accepting": True},
    ]
    assert not any(name.endswith(".json") for name in os.listdir(folder))  # noqa: PTH208 - a path's own would block


async def test_the_first_worker_accepts_connections_at_once(folder: Path) -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        loading = Loading(kitchen.classifier, folder)
        await loading.lifecycle.wait_for_turn()

        assert loading.lifecycle.state is ServiceState.LOADING
        loading.is_loaded.set()
        await loading.lifecycle.stop()


async def test_a_worker_says_that_it_no_longer_accepts_as_its_server_is_told_to_stop(
    folder: Path, stops: list[int]
) -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        loading = Loading(kitchen.classifier, folder)
        loading.is_loaded.set()
        await loading.lifecycle.wait_for_turn()
        signal.raise_signal(signal.SIGTERM)
        await settle()
        said = [(said_by_itself(folder)["is_accepting"], list(stops))]
        await let_pass(1)
        said.append((said_by_itself(folder)["is_accepting"], list(stops)))
        await loading.lifecycle.stop()

    assert said == [(True, []), (False, [signal.SIGTERM])]


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


async def test_a_worker_that_still_loads_accepts_connections_once_the_last_that_served_is_gone(
    folder: Path, sibling: Sibling
) -> None:
    sibling.say(ServiceState.READY)
    async with running({"a": FakeInfer()}) as kitchen:
        loading = Loading(kitchen.classifier, folder)
        turn = asyncio.create_task(loading.lifecycle.wait_for_turn())
        await let_pass(5)
        assert not turn.done()

        sibling.say(ServiceState.DRAINING)
        await let_pass(1)

        assert turn.done()
        assert (loading.lifecycle.state, said_by_itself(folder)["is_accepting"]) == (ServiceState.LOADING, True)
        await loading.lifecycle.stop()


@pytest.mark.parametrize("is_beside_one_that_serves", [True, False])
async def test_a_worker_that_is_told_to_stop_while_it_loads_does_not_wait_for_that(
    is_beside_one_that_serves: bool, folder: Path, sibling: Sibling, stops: list[int]
) -> None:
    sibling.say(ServiceState.READY if is_beside_one_that_serves else ServiceState.FAILED)
    async with running({"a": FakeInfer()}) as kitchen:
        loading = Loading(kitchen.classifier, folder)
        turn = asyncio.create_task(loading.lifecycle.wait_for_turn())
        await let_pass(1)
        signal.raise_signal(signal.SIGTERM)
        await let_pass(1)

        assert turn.done()
        assert stops == [signal.SIGTERM]
        async with asyncio.timeout(0):
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
