"""Every fault at the same time, and a drain in the midst of it."""

import asyncio
from collections.abc import Iterator
from itertools import count
from random import Random

import pytest

from bento_service.domain.requests import Priority
from tests.fakes.faulty_engine import FaultyEngine, every, lethal, lethal_once, short_of_memory, slow
from tests.faults.books import SERVED_OR_REJECTED, check_books, check_counts
from tests.faults.clients import Reply, Request, ask, connect
from tests.faults.service import LANES, FaultedService, serving

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
CLIENTS = 48
LOAD = 1500
"""Receipts until the drain begins."""
IMAGES = 400
"""Fewer than requests: some meet the cache, and some the very image in flight."""
CULPRITS = (66, 166, 266, 366)
STUMBLES = range(0, IMAGES, 25)
"""Images over which one lane dies, once."""


class Crowd:
    """Clients that ask for random images with either priority until they are told of the drain; some hang up."""

    def __init__(self, service: FaultedService) -> None:
        self.replies: list[Reply] = []
        self.hung_up: list[Request] = []
        self._service = service

    async def work(self, client: int) -> None:
        random = Random(client)  # noqa: S311 (repeatable, not secret)
        requests = self._draw(client, random)
        while True:
            async with connect(self._service.port) as connection:
                for request in requests:
                    if random.random() < 0.1:
                        self.hung_up.append(request)
                        await connection.send_part(request, random.choice((0.5, 1.0)))
                        # How long the client stays is what is tested; nothing is waited for.
                        await asyncio.sleep(random.uniform(0, 0.02))
                        break
                    reply = await connection.ask(request)
                    self.replies.append(reply)
                    if reply.outcome == "draining":
                        return

    def _draw(self, client: int, random: Random) -> Iterator[Request]:
        for turn in count():
            priority = random.choice(tuple(Priority))
            yield Request(f"client-{client}-{turn}", random.randrange(IMAGES), priority)


async def test_all_faults_and_a_drain_leave_no_image_unanswered() -> None:
    engine = FaultyEngine()
    engine.faults = (
        slow(3, lanes=LANES - 1),
        # Before the lethal ones, so that an image that was on a lane with one of those is not yet to stumble alone.
        lethal_once(STUMBLES),
        lethal(CULPRITS),
        every(7),
        short_of_memory(4),
    )
    with serving(engine, target_ms=500.0, has_cache=True) as service:
        crowd = Crowd(service)
        async with asyncio.TaskGroup() as group:
            for client in range(CLIENTS):
                group.create_task(crowd.work(client))
            await asyncio.to_thread(service.book.wait_for, LOAD)
            left = await asyncio.to_thread(service.drain)
        late = await ask(service.port, Request("late", 1))

        assert left == 0
        assert late.outcome == "draining"
        check_books(
            service,
            [*crowd.replies, late],
            outcomes=SERVED_OR_REJECTED | {"draining"},
            culprits=CULPRITS,
            hung_up=crowd.hung_up,
        )
        assert service.count("lightbox_lanes_lost_total") > len(CULPRITS)
        assert service.count("lightbox_out_of_memory_total") > 0
        assert {"cancelled", "ok", "inference_failed"} <= set(service.book.outcomes())
        await check_counts(service)
