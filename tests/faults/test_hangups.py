"""Clients that hang up cost the others nothing, and no compute where they still waited."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from bento_service.domain.requests import Priority
from tests.fakes.faulty_engine import IMAGES, FaultyEngine
from tests.faults.books import check_books, check_rest, fill_lanes
from tests.faults.clients import Request, ask, ask_all, connect, number_requests
from tests.faults.service import LANES, FaultedService, serving

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
LONGEST_STAY_S = 0.03
"""A few times what an answer takes under this load: so clients leave before, while and after theirs is made."""


def draw_waiting() -> list[Request]:
    """Return requests of either priority."""
    return [
        replace(request, priority=Priority.BULK if request.image % 3 else Priority.INTERACTIVE)
        for request in number_requests("r", images=range(64))
    ]


@pytest.mark.parametrize("has_cache", [False, True], ids=["no cache", "cache"])
async def test_clients_that_leave_before_a_lane_cost_no_inference(*, has_cache: bool) -> None:
    engine = FaultyEngine()
    waiting = draw_waiting()
    leaving = waiting[::2]
    with serving(engine, has_cache=has_cache) as service:
        with engine.held():
            plugs = await fill_lanes(service, "plug", range(IMAGES - LANES, IMAGES))
            asking = {request: asyncio.create_task(ask(service.port, request)) for request in waiting}
            await asyncio.to_thread(service.wait_until, lambda: len(service.scheduler.queue) == len(waiting))
            for request in leaving:
                asking.pop(request).cancel()
            await asyncio.to_thread(service.book.wait_for, len(leaving), outcome="cancelled")
            assert len(service.scheduler.queue) == len(asking)
        replies = await asyncio.gather(*plugs, *asking.values())

        check_books(service, replies, outcomes=["ok"], hung_up=leaving)
        assert not {request.image for request in leaving} & set(engine.runs)
        await check_rest(service)


@pytest.mark.parametrize("has_cache", [False, True], ids=["no cache", "cache"])
async def test_clients_that_leave_before_decoding_cost_none(*, has_cache: bool) -> None:
    engine = FaultyEngine()
    waiting = draw_waiting()
    leaving = waiting[::2]
    with serving(engine, has_cache=has_cache) as service:
        with service.decoding_held():
            asking = {request: asyncio.create_task(ask(service.port, request)) for request in waiting}
            await asyncio.to_thread(service.wait_until, lambda: service.decode_pool.waiting == len(waiting))
            for request in leaving:
                asking.pop(request).cancel()
            await asyncio.to_thread(service.book.wait_for, len(leaving), outcome="cancelled")
            assert service.decode_pool.waiting == service.scheduler.queue.expected == len(asking)
        replies = await asyncio.gather(*asking.values())

        check_books(service, replies, outcomes=["ok"], hung_up=leaving)
        assert {receipt.timings.decode_ms for receipt in service.book.receipts if receipt.outcome != "ok"} == {0.0}
        await check_rest(service)


async def leave(service: FaultedService, requests: Sequence[Request], random: Random) -> None:
    """Send a request and hang up, time and again: while the image is on its way, or some time after it."""
    for request in requests:
        async with connect(service.port) as client:
            share = random.choice((0.0, 0.5, 1.0))
            await client.send_part(request, share)
            # How long the client stays is what is tested; nothing is waited for.
            await asyncio.sleep(random.uniform(0, LONGEST_STAY_S))


async def test_clients_that_leave_at_any_moment_cost_the_others_nothing() -> None:
    engine = FaultyEngine()
    random = Random(5)  # noqa: S311 (repeatable, not secret)
    fickle = [list(number_requests(f"fickle-{client}", images=range(500, 515))) for client in range(24)]
    with serving(engine) as service:
        async with asyncio.TaskGroup() as group:
            faithful = group.create_task(
                ask_all(service.port, number_requests("faithful", images=range(500)), clients=24)
            )
            for requests in fickle:
                group.create_task(leave(service, requests, random))
        replies = faithful.result()

        check_books(service, replies, outcomes=["ok"], hung_up=[request for each in fickle for request in each])
        outcomes = service.book.outcomes()
        assert outcomes["cancelled"] > 24
        await check_rest(service)
