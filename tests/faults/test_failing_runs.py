"""Runs that fail, kill their lane or run out of memory are run again, until only the images at fault fail."""

from collections.abc import Callable

import pytest

from tests.fakes.engine import LaneKilledError
from tests.fakes.faulty_engine import Fault, FaultyEngine, every, larger_than, lethal, over, short_of_memory
from tests.faults.books import check_books, check_rest
from tests.faults.clients import Reply, ask_all, number_requests
from tests.faults.service import LARGEST_BATCH, FaultedService, serving

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
RUNS_A_KILL = 25
"""More than the images of one batch run alone on both lanes take: so no image is on two lanes as they die."""
ROUNDS = 100
"""Of a tenth of a second each: probing back takes a second for each doubling of the ceiling."""


@pytest.mark.parametrize("fault", [over, lethal], ids=["fail their batch", "kill their lane"])
async def test_only_the_images_at_fault_fail(fault: Callable[[range], Fault]) -> None:
    engine = FaultyEngine()
    culprits = range(7, 600, 60)
    engine.faults = (fault(culprits),)
    with serving(engine) as service:
        replies = await ask_all(service.port, number_requests("r", images=range(600)))
        check_books(service, replies, outcomes=["ok"], culprits=culprits)
        assert {reply.request.image for reply in replies if reply.outcome == "inference_failed"} == set(culprits)
        assert fault is over or {engine.runs[image] for image in culprits} == {2}
        await check_rest(service)


@pytest.mark.parametrize(
    ("fault", "reason", "sizes"),
    [
        pytest.param(every(7), "bisected", range(1, LARGEST_BATCH + 1), id="every seventh run fails"),
        pytest.param(larger_than(1), "bisected", [1], id="every batch of several images fails"),
        pytest.param(every(RUNS_A_KILL, LaneKilledError), "recovered", range(1, LARGEST_BATCH + 1), id="lanes die"),
    ],
)
async def test_faults_of_no_image_cost_no_answer(fault: Fault, reason: str, sizes: range | list[int]) -> None:
    engine = FaultyEngine()
    engine.faults = (fault,)
    with serving(engine) as service:
        replies = await ask_all(service.port, number_requests("r", images=range(800)))
        kills = len(engine.sizes) // RUNS_A_KILL if reason == "recovered" else 0
        engine.faults = ()
        check_books(service, replies, outcomes=["ok"])
        assert max(engine.runs.values()) > 1
        assert reason in {reply.document["dispatch"] for reply in replies}
        assert {reply.document["batch_size"] for reply in replies} <= set(sizes)
        await check_rest(service)
        assert service.count("lightbox_lanes_lost_total") == kills


async def test_short_memory_halves_the_ceiling_which_grows_back() -> None:
    engine = FaultyEngine()
    with serving(engine) as service:
        assert service.ceiling == LARGEST_BATCH
        engine.faults = (short_of_memory(2),)
        during = await ask_all(service.port, number_requests("short", images=range(400)))
        short_ceiling = service.ceiling
        engine.faults = ()
        after = await recover(service)
        check_books(service, [*during, *after], outcomes=["ok"])
        assert short_ceiling < LARGEST_BATCH
        assert {reply.document["batch_size"] for reply in during} <= {1, 2}
        assert service.count("lightbox_out_of_memory_total") >= 1
        assert max(reply.document["batch_size"] for reply in after) > 2
        await check_rest(service)


async def recover(service: FaultedService) -> list[Reply]:
    """Load the service until its ceiling is as it was."""
    replies: list[Reply] = []
    for turn in range(ROUNDS):
        replies += await ask_all(service.port, number_requests(f"after-{turn}", images=range(100)))
        if service.ceiling == LARGEST_BATCH:
            return replies
    raise AssertionError(f"after {ROUNDS} rounds the ceiling is still {service.ceiling}")
