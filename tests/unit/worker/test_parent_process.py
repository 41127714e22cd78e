import os
import signal

import pytest

from bento_service.worker.parent_process import exit_with_parent, export_parent_pid, read_parent_pid
from tests.fakes.processes import dead_process_id

pytestmark = pytest.mark.anyio


def test_a_worker_knows_its_master_by_what_that_noted_in_its_environment() -> None:
    environment: dict[str, str] = {}
    export_parent_pid(environment)

    assert read_parent_pid(environment) == os.getpid()


def test_a_worker_that_finds_nothing_noted_takes_its_parent_for_its_master() -> None:
    assert read_parent_pid({}) == os.getppid()


def test_what_an_outer_service_noted_does_not_count_for_an_inner_one() -> None:
    environment = {"LIGHTBOX_MASTER_ID": "1"}
    export_parent_pid(environment)

    assert read_parent_pid(environment) == os.getpid()


async def test_a_worker_whose_master_was_gone_before_it_began_to_watch_leaves() -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        await exit_with_parent(dead_process_id())
    finally:
        signal.signal(signal.SIGTERM, before)

    assert received == [signal.SIGTERM]
