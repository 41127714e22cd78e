"""Lanes that become ten times slower: what cannot be answered in time is rejected; a healthy lane does the work."""

import pytest

from tests.fakes.faulty_engine import FaultyEngine, slow
from tests.faults.books import check_books, check_rest
from tests.faults.clients import Reply, ask_all, for_seconds, number_requests
from tests.faults.service import LANES, FaultedService, serving

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
# Long enough for a busy machine to be but a little slower at sleeping than it says.
FIXED_MS, IMAGE_MS = 9.0, 3.0
CLIENTS = 48
FACTOR = 10
TARGET_MS = 750.0
SLOW_S = 8.0
ROUNDS = 60


async def recover(service: FaultedService) -> list[Reply]:
    """Load the service until it is as fast as before and rejects nobody."""
    replies: list[Reply] = []
    for turn in range(ROUNDS):
        round_ = await ask_all(
            service.port, number_requests(f"after-{turn}", images=range(2 * CLIENTS)), clients=CLIENTS
        )
        replies += round_
        if service.speed > 0.5 and all(reply.status == 200 for reply in round_):
            return replies
    raise AssertionError(f"after {ROUNDS} rounds the speed is {service.speed:.2f}, and images are still rejected")


async def test_a_service_that_slows_down_tenfold_rejects_some_and_recovers() -> None:
    engine = FaultyEngine(fixed_ms=FIXED_MS, image_ms=IMAGE_MS)
    with serving(engine, target_ms=TARGET_MS) as service:
        before = await ask_all(service.port, number_requests("before", images=range(200)), clients=CLIENTS)
        engine.faults = (slow(FACTOR),)
        during = await ask_all(service.port, for_seconds(number_requests("slow"), SLOW_S), clients=CLIENTS)
        slow_speed = service.speed
        engine.faults = ()
        after = await recover(service)

        check_books(service, [*before, *during, *after])
        assert slow_speed < 0.25
        assert {reply.status for reply in during} == {200, 429}
        await check_rest(service)


async def test_one_slow_lane_leaves_the_work_to_the_other() -> None:
    engine = FaultyEngine(fixed_ms=FIXED_MS, image_ms=IMAGE_MS)
    with serving(engine, target_ms=TARGET_MS) as service:
        engine.faults = (slow(FACTOR, lanes=LANES - 1),)
        during = await ask_all(service.port, for_seconds(number_requests("slow"), SLOW_S), clients=CLIENTS)
        slow_lane, healthy_lane = sorted(engine.images_by_lane.values())
        engine.faults = ()
        after = await recover(service)

        check_books(service, [*during, *after])
        assert {reply.status for reply in during} <= {200, 429}
        assert healthy_lane > 2 * slow_lane
        await check_rest(service)
