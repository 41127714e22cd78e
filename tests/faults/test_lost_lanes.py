"""A lane that dies takes nobody with it."""

import pytest

from tests.fakes.engine import LaneKilledError
from tests.fakes.faulty_engine import FaultyEngine, every, lethal
from tests.faults.books import check_books, check_rest
from tests.faults.clients import ask_all, number_requests
from tests.faults.service import serving

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
RUNS_A_KILL = 25
"""More than the images of one batch run alone on both lanes take: so no image is on two lanes as they die."""


async def test_lanes_that_die_again_and_again_lose_no_image_and_are_all_replaced() -> None:
    engine = FaultyEngine()
    engine.faults = (every(RUNS_A_KILL, LaneKilledError),)
    with serving(engine) as service:
        replies = await ask_all(service.port, number_requests("r", images=range(800)))
        kills = len(engine.sizes) // RUNS_A_KILL
        engine.faults = ()

        check_books(service, replies, outcomes=["ok"])
        await check_rest(service)
        assert kills > 3
        assert service.count("lightbox_lanes_lost_total") == kills


async def test_an_image_that_kills_every_lane_is_the_only_one_to_fail() -> None:
    engine = FaultyEngine()
    culprits = (111, 222, 223, 333)
    engine.faults = (lethal(culprits),)
    with serving(engine) as service:
        replies = await ask_all(service.port, number_requests("r", images=range(400)))

        check_books(service, replies, outcomes=["ok"], culprits=culprits)
        assert {reply.request.image for reply in replies if reply.outcome == "inference_failed"} == set(culprits)
        assert {engine.runs[image] for image in culprits} == {2}
        await check_rest(service)
