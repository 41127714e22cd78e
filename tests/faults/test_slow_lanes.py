"""Lanes that become ten times slower: what cannot be answered in time is shed, and the rest keeps the target."""

from collections.abc import Sequence

import numpy as np
import pytest

from tests.fakes.faulty_engine import FaultyEngine, slow
from tests.faults.books import check_books, check_rest
from tests.faults.clients import Reply, ask_all, for_seconds, number_requests
from tests.faults.service import serving
from tests.faults.wiring import LANES, FaultedService

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
CLIENTS = 48
FACTOR = 10
TARGET_MS = 250.0
ALLOWANCE = 3
"""Times the target that the slowest answers may take: clients, server and whatever else runs share the processor."""
SLOW_S = 4.0
LEARNING_S = 2.0
"""How long after the change answers may be late: those that were admitted before it, and until the pace is learnt."""
ROUNDS = 60


def p99_ms(replies: Sequence[Reply]) -> float:
    return float(np.percentile([(reply.answered_s - reply.asked_s) * 1000 for reply in replies], 99))


async def recover(service: FaultedService) -> list[Reply]:
    """Load the service until it is as fast as before and sheds nobody."""
    replies: list[Reply] = []
    for turn in range(ROUNDS):
        round_ = await ask_all(
            service.port, number_requests(f"after-{turn}", images=range(2 * CLIENTS)), clients=CLIENTS
        )
        replies += round_
        if service.speed > 0.5 and all(reply.status == 200 for reply in round_):
            return replies
    raise AssertionError(f"after {ROUNDS} rounds the speed is {service.speed:.2f}, and images are still shed")


async def test_a_service_whose_lanes_slow_down_tenfold_keeps_its_target_by_shedding_and_recovers() -> None:
    engine = FaultyEngine(fixed_ms=3, image_ms=1)
    with serving(engine, target_ms=TARGET_MS) as service:
        before = await ask_all(service.port, number_requests("before", images=range(200)), clients=CLIENTS)
        engine.faults = (slow(FACTOR),)
        during = await ask_all(service.port, for_seconds(number_requests("slow"), SLOW_S), clients=CLIENTS)
        slow_speed = service.speed
        engine.faults = ()
        after = await recover(service)

        check_books(service, [*before, *during, *after])
        changed_s = min(reply.asked_s for reply in during)
        settled = [reply for reply in during if reply.asked_s > changed_s + LEARNING_S]
        answered = [reply for reply in settled if reply.status == 200]
        assert slow_speed < 0.25
        assert answered
        assert len(answered) < len(settled)
        assert p99_ms(answered) <= ALLOWANCE * TARGET_MS
        await check_rest(service)


async def test_one_lane_that_slows_down_tenfold_costs_no_answer_its_target() -> None:
    engine = FaultyEngine(fixed_ms=3, image_ms=1)
    with serving(engine, target_ms=TARGET_MS) as service:
        engine.faults = (slow(FACTOR, lanes=LANES - 1),)
        during = await ask_all(service.port, for_seconds(number_requests("slow"), SLOW_S), clients=CLIENTS)
        engine.faults = ()
        after = await recover(service)

        check_books(service, [*during, *after])
        begun_s = min(reply.asked_s for reply in during)
        answered = [reply for reply in during if reply.status == 200 and reply.asked_s > begun_s + LEARNING_S]
        assert answered
        assert p99_ms(answered) <= ALLOWANCE * TARGET_MS
        await check_rest(service)
