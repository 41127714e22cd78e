"""What becomes of a worker that cannot load."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from bento_service.domain.service import ServiceState
from bento_service.errors import NotReadyError
from tests.fakes.engine import FakeInfer
from tests.fakes.pipeline import running
from tests.unit.worker.accept_gate.workers import Failing, Loading, Sibling, let_pass, said_by_itself, settle

pytestmark = pytest.mark.anyio


async def test_a_worker_that_cannot_load_leaves_the_connections_to_those_that_serve(
    folder: Path, sibling: Sibling
) -> None:
    sibling.say(ServiceState.READY)
    async with running({"a": FakeInfer()}) as kitchen:
        failing = Failing(kitchen.classifier, folder, retry_failed_s=0)

        with pytest.raises(NotReadyError):
            await failing.lifecycle.wait_for_turn()

        said = said_by_itself(folder)
        assert (said["state"], said["is_accepting"]) == ("failed", False)
        await failing.lifecycle.stop()


async def test_a_worker_that_cannot_load_says_so_where_nobody_else_serves(folder: Path) -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        failing = Failing(kitchen.classifier, folder, retry_failed_s=0)

        await failing.lifecycle.wait_for_turn()

        assert said_by_itself(folder)["is_accepting"]
        await failing.lifecycle.stop()


async def test_a_worker_that_cannot_load_steps_aside_once_another_that_came_with_it_serves(
    folder: Path, sibling: Sibling, stops: list[int]
) -> None:
    sibling.say(ServiceState.LOADING)
    async with running({"a": FakeInfer()}) as kitchen:
        failing = Failing(kitchen.classifier, folder)
        await failing.lifecycle.wait_for_turn()
        await let_pass(5)
        assert stops == []

        sibling.say(ServiceState.READY)
        await let_pass(1)

        assert stops == [signal.SIGTERM]
        await failing.lifecycle.stop()


async def test_a_worker_that_cannot_load_steps_aside_once_the_one_that_it_stood_in_for_is_back(
    folder: Path, sibling: Sibling, stops: list[int]
) -> None:
    sibling.say(ServiceState.READY)
    async with running({"a": FakeInfer()}) as kitchen:
        failing = Failing(kitchen.classifier, folder)
        turn = asyncio.create_task(failing.lifecycle.wait_for_turn())
        await let_pass(5)
        sibling.say(ServiceState.LOADING)
        await let_pass(5)
        assert (turn.done(), said_by_itself(folder)["is_accepting"], stops) == (True, True, [])

        sibling.say(ServiceState.READY)
        await let_pass(1)

        assert stops == [signal.SIGTERM]
        await failing.lifecycle.stop()


async def test_a_worker_that_serves_stays_beside_others_that_do(
    folder: Path, sibling: Sibling, stops: list[int]
) -> None:
    sibling.say(ServiceState.READY)
    async with running({"a": FakeInfer()}) as kitchen:
        loading = Loading(kitchen.classifier, folder)
        loading.is_loaded.set()
        await loading.lifecycle.wait_for_turn()
        await let_pass(60)

        assert stops == []
        await loading.lifecycle.stop()


async def seconds_until_it_leaves(failing: Failing, stops: list[int], *, at_most: int) -> int:
    await failing.lifecycle.wait_for_turn()
    await settle()
    for second in range(at_most):
        if stops:
            stops.clear()
            return second
        await let_pass(1)
    raise AssertionError(f"it stays for more than {at_most} s")


async def test_a_worker_that_cannot_load_alone_makes_room_for_the_next_try_later_each_time_until_one_went_well(
    folder: Path, stops: list[int]
) -> None:
    stays_s: list[int] = []
    async with running({"a": FakeInfer()}) as kitchen:
        for loading in [Failing] * 7 + [Loading, Failing]:
            worker = loading(kitchen.classifier, folder, retry_failed_s=30)
            worker.is_loaded.set()
            if isinstance(worker, Failing):
                stays_s.append(await seconds_until_it_leaves(worker, stops, at_most=700))
            await let_pass(1)
            await worker.lifecycle.stop()

    assert stays_s == [30, 60, 120, 240, 480, 600, 600, 30]


def note(folder: Path, noted: str) -> None:
    folder.mkdir()
    (folder / f"failed-loads-{os.getppid()}").write_text(noted)


@pytest.mark.parametrize("noted", ["", "many", "0"])
async def test_a_count_of_failures_that_makes_no_sense_counts_as_none(
    noted: str, folder: Path, stops: list[int]
) -> None:
    note(folder, noted)
    async with running({"a": FakeInfer()}) as kitchen:
        failing = Failing(kitchen.classifier, folder, retry_failed_s=30)

        assert await seconds_until_it_leaves(failing, stops, at_most=100) == 30
        await failing.lifecycle.stop()
