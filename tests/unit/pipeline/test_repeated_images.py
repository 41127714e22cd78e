"""Images that were seen before, or that are in flight twice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bento_service.cache.memory import MemoryStore
from bento_service.cache.result_cache import ResultCache
from bento_service.domain.requests import Priority
from bento_service.errors import InferenceFailedError
from tests.fakes.cache import CountingObserver
from tests.fakes.engine import FakeInfer
from tests.fakes.pipeline import ObservedClassifier, encode_image, running

pytestmark = pytest.mark.anyio

IMAGE = encode_image(7)


@asynccontextmanager
async def caching(*infers: FakeInfer, max_receiving: int = 50) -> AsyncIterator[ObservedClassifier]:
    """Run models `a` and `b` with a cache."""
    cache = ResultCache(MemoryStore(1_000_000), observer=CountingObserver())
    async with running(dict(zip("ab", infers, strict=False)), cache=cache, max_receiving=max_receiving) as observed:
        yield observed
        assert observed.classifier.in_flight == 0


async def test_an_image_seen_before_is_answered_without_compute_and_says_so() -> None:
    infer = FakeInfer()
    async with caching(infer) as observed:
        first = await observed.classify(IMAGE, top_k=1)
        again = await observed.classify(IMAGE, top_k=3)

    assert infer.calls == [(7,)]
    assert [first.receipt.cached, again.receipt.cached] == [False, True]
    assert again.predictions[0] == first.predictions[0]
    assert len(again.predictions) == 3
    receipt, computed = again.receipt, first.receipt
    assert (receipt.dispatch, receipt.batch_size) == ("cached", 0)
    assert (receipt.timings.decode_ms, receipt.timings.inference_ms) == (0, 0)
    assert (receipt.digest, receipt.image, receipt.top) == (computed.digest, computed.image, computed.top)


async def test_models_do_not_share_results() -> None:
    infers = FakeInfer(0), FakeInfer(1)
    async with caching(*infers) as observed:
        for name in "ab":
            with observed.open(model=name) as pending:
                await pending.classify(IMAGE)
    assert [infer.calls for infer in infers] == [[(7,)], [(7,)]]


async def test_identical_images_in_flight_run_once_and_add_no_wait() -> None:
    infer = FakeInfer()
    async with caching(infer) as observed:
        first = await observed.occupy_lane(infer, IMAGE)
        wait_ms = observed.classifier.predicted_wait_ms
        others = await observed.start_many(4, IMAGE)
        assert (observed.classifier.in_flight, observed.classifier.predicted_wait_ms) == (5, wait_ms)
        infer.gate.set()
        answers = await asyncio.gather(first, *others)

    assert infer.calls == [(7,)]
    assert [answer.receipt.cached for answer in answers] == [False, True, True, True, True]
    assert len(observed.observer.receipts) == 5


async def test_a_request_takes_over_where_the_computing_client_disconnects() -> None:
    infer = FakeInfer()
    async with caching(infer) as observed:
        leader = await observed.occupy_lane(infer, IMAGE)
        follower = await observed.start(IMAGE)
        leader.cancel()
        infer.gate.set()
        answer = await follower
    assert not answer.receipt.cached
    assert sorted(receipt.outcome for receipt in observed.observer.receipts) == ["cancelled", "ok"]


async def test_a_failure_is_never_kept() -> None:
    infer = FakeInfer(poison={7})
    async with caching(infer) as observed:
        for _ in range(2):
            with pytest.raises(InferenceFailedError):
                await observed.classify(IMAGE)
    assert len(infer.calls) >= 2


async def test_requests_that_wait_for_an_identical_image_keep_nobody_from_sending() -> None:
    infer = FakeInfer()
    async with caching(infer, max_receiving=4) as observed:
        tasks = [await observed.occupy_lane(infer, IMAGE), *await observed.start_many(4, IMAGE)]
        observed.open(request_id="another")
        infer.gate.set()
        await asyncio.gather(*tasks)


async def test_beyond_a_limit_requests_compute_instead_of_waiting_for_an_identical_image() -> None:
    infer = FakeInfer()
    async with caching(infer, max_receiving=2) as observed:
        tasks = [await observed.occupy_lane(infer, IMAGE), *await observed.start_many(3, IMAGE)]
        infer.gate.set()
        answers = await asyncio.gather(*tasks)
    assert sorted(answer.receipt.cached for answer in answers) == [False, False, True, True]


async def test_interactive_images_are_decoded_and_run_before_earlier_bulk_ones() -> None:
    infer = FakeInfer()

    async def classify_bulk(observed: ObservedClassifier, value: int) -> None:
        with observed.open(priority=Priority.BULK) as pending:
            await pending.classify(encode_image(value))

    async with running({"a": infer}) as observed:
        decoding = observed.block_decoding()
        bulk = [asyncio.create_task(classify_bulk(observed, value)) for value in (1, 2, 3)]
        await asyncio.sleep(0)
        interactive = [await observed.start(encode_image(value)) for value in (11, 12)]
        infer.gate.clear()
        decoding.set()
        await asyncio.to_thread(infer.wait_for_lane)
        infer.gate.set()
        await asyncio.gather(*bulk, *interactive)

    order = [value for call in infer.calls for value in call]
    assert set(order[:2]) == {11, 12}
    assert order[2:] == [1, 2, 3]
