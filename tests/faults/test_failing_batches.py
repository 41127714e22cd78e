"""Batches that fail are run again in parts, until only the culprit fails."""

import pytest

from tests.fakes.faulty_engine import FaultyEngine, every, larger_than, over
from tests.faults.books import check_books, check_rest
from tests.faults.clients import ask_all, number_requests
from tests.faults.service import serving

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


async def test_a_model_that_fails_every_seventh_batch_answers_every_image() -> None:
    engine = FaultyEngine()
    engine.faults = (every(7),)
    with serving(engine) as service:
        replies = await ask_all(service.port, number_requests("r", images=range(800)))

        check_books(service, replies, outcomes=["ok"])
        assert max(engine.runs.values()) > 1
        assert "bisected" in {reply.document["dispatch"] for reply in replies}
        await check_rest(service)


async def test_a_model_that_fails_every_batch_of_several_images_answers_them_one_by_one() -> None:
    engine = FaultyEngine()
    engine.faults = (larger_than(1),)
    with serving(engine) as service:
        replies = await ask_all(service.port, number_requests("r", images=range(400)))

        check_books(service, replies, outcomes=["ok"])
        assert {reply.document["batch_size"] for reply in replies} == {1}
        assert max(engine.sizes) > 1
        engine.faults = ()
        await check_rest(service)


async def test_of_a_load_in_which_some_images_fail_every_batch_only_those_fail() -> None:
    engine = FaultyEngine()
    culprits = range(0, 600, 60)
    engine.faults = (over(culprits),)
    with serving(engine) as service:
        replies = await ask_all(service.port, number_requests("r", images=range(600)))

        check_books(service, replies, outcomes=["ok"], culprits=culprits)
        assert {reply.request.image for reply in replies if reply.outcome == "inference_failed"} == set(culprits)
        await check_rest(service)
