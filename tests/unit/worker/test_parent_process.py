import os
import signal

import pytest

from bento_service.worker.parent_process import announce_master, find_master, leave_with_master
from tests.fakes.processes import dead_process_id

pytestmark = pytest.mark.anyio


def test_a_worker_knows_its_master_by_what_that_noted_in_its_environment() -> None:
    environment: dict[str, str] = {}
    announce_master(environment)

    assert find_master(environment) == os.getpid()


def test_a_worker_that_finds_nothing_noted_takes_its_parent_for_its_master() -> None:
    assert find_master({}) == os.getppid()


def test_what_an_outer_service_noted_does_not_count_for_an_inner_one() -> None:
    environment = {"LIGHTBOX_MASTER_ID": "1"}
    announce_master(environment)

    assert find_master(environment) == os.getpid()


async def test_a_worker_whose_master_was_gone_before_it_began_to_watch_leaves() -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        await leave_with_master(dead_process_id())
    finally:
        signal.signal(signal.SIGTERM, before)

    assert received == [signal.SIGTERM]
