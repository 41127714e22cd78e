"""Images that were seen before, that are seen twice at the same time, and for which nobody waits."""

import asyncio

import pytest

from bento_service.cache.memory import MemoryStore
from bento_service.cache.result_cache import ResultCache
from bento_service.domain.requests import Priority
from bento_service.errors import DeadlineExceededError, InferenceFailedError
from tests.fakes.clock import FakeTimeLoop
from tests.fakes.engine import FakeInfer
from tests.fakes.pipeline import Kitchen, encode_image, fake_clock, running

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": FakeTimeLoop}


class NoObserver:
    def observe_lookup(self, result: str) -> None: ...
    def observe_cache_failure(self, operation: str) -> None: ...
    def observe_cache_size(self, entries: int, size_bytes: int) -> None: ...


def make_cache() -> ResultCache:
    return ResultCache(MemoryStore(1_000_000), observer=NoObserver())


async def test_an_image_seen_before_is_answered_without_any_compute_and_says_so() -> None:
    infer = FakeInfer()
    async with running({"a": infer}, cache=make_cache()) as kitchen:
        first = await kitchen.classify(encode_image(7), top_k=1)
        again = await kitchen.classify(encode_image(7), top_k=3)

    assert infer.calls == [(7,)]
    assert [first.receipt.cached, again.receipt.cached] == [False, True]
    assert again.predictions[0] == first.predictions[0]
    assert len(again.predictions) == 3
    receipt = again.receipt
    assert (receipt.dispatch, receipt.batch_size) == ("cached", 0)
    assert (receipt.timings.decode_ms, receipt.timings.inference_ms) == (0, 0)
    assert (receipt.digest, receipt.image, receipt.top) == (
        first.receipt.digest,
        first.receipt.image,
        first.receipt.top,
    )


async def test_another_model_does_not_answer_with_what_the_first_one_saw() -> None:
    models = {"a": FakeInfer(0), "b": FakeInfer(1)}
    async with running(models, cache=make_cache()) as kitchen:
        for name in models:
            with kitchen.open(model=name) as pending:
                answer = await pending.classify(encode_image(7))
            assert not answer.receipt.cached
    assert [infer.calls for infer in models.values()] == [[(7,)], [(7,)]]


async def test_identical_images_in_flight_run_once_and_each_gets_a_receipt() -> None:
    infer = FakeInfer()
    infer.gate.clear()
    async with running({"a": infer}, cache=make_cache()) as kitchen:
        tasks = [await kitchen.start(encode_image(7)) for _ in range(5)]
        await asyncio.to_thread(infer.wait_for_lane)
        assert kitchen.classifier.in_flight == 5
        infer.gate.set()
        answers = await asyncio.gather(*tasks)

    assert infer.calls == [(7,)]
    assert sorted(answer.receipt.cached for answer in answers) == [False, True, True, True, True]
    assert len(kitchen.notebook.receipts) == 5
    assert kitchen.classifier.in_flight == 0


async def test_an_image_that_waits_for_an_identical_one_keeps_nobody_waiting() -> None:
    infer = FakeInfer()
    infer.gate.clear()
    async with running({"a": infer}, cache=make_cache()) as kitchen:
        tasks = [await kitchen.start(encode_image(7))]
        await asyncio.to_thread(infer.wait_for_lane)
        wait_ms = kitchen.classifier.predicted_wait_ms
        tasks += [await kitchen.start(encode_image(7)) for _ in range(5)]
        assert kitchen.classifier.predicted_wait_ms == wait_ms
        infer.gate.set()
        await asyncio.gather(*tasks)


async def test_a_request_takes_over_where_the_identical_one_before_it_hung_up() -> None:
    infer = FakeInfer()
    infer.gate.clear()
    async with running({"a": infer}, cache=make_cache()) as kitchen:
        leader = await kitchen.start(encode_image(7))
        follower = await kitchen.start(encode_image(7))
        await asyncio.to_thread(infer.wait_for_lane)
        leader.cancel()
        infer.gate.set()
        answer = await follower

    assert not answer.receipt.cached
    assert sorted(receipt.outcome for receipt in kitchen.notebook.receipts) == ["cancelled", "ok"]


async def test_a_failure_is_shared_but_never_kept() -> None:
    infer = FakeInfer(poison={7})
    async with running({"a": infer}, cache=make_cache()) as kitchen:
        for _ in range(2):
            with pytest.raises(InferenceFailedError):
                await kitchen.classify(encode_image(7))
    assert len(infer.calls) >= 2


async def start_bulk(kitchen: Kitchen, value: int) -> "asyncio.Task[object]":
    async def classify() -> object:
        with kitchen.open(priority=Priority.BULK) as pending:
            return await pending.classify(encode_image(value))

    task: asyncio.Task[object] = asyncio.create_task(classify())
    await asyncio.sleep(0)
    return task


async def test_interactive_images_are_decoded_and_run_before_bulk_ones_that_came_first() -> None:
    infer = FakeInfer()
    async with running({"a": infer}) as kitchen:
        decoding = kitchen.block_decoding()
        bulk = [await start_bulk(kitchen, value) for value in (1, 2, 3)]
        interactive = [await kitchen.start(encode_image(value)) for value in (11, 12)]
        infer.gate.clear()
        decoding.set()
        await asyncio.to_thread(infer.wait_for_lane)
        infer.gate.set()
        await asyncio.gather(*bulk, *interactive)

    order = [value for call in infer.calls for value in call]
    assert set(order[:2]) == {11, 12}
    assert order[2:] == [1, 2, 3]


async def test_a_deadline_that_passes_before_decoding_costs_no_compute() -> None:
    infer = FakeInfer()
    async with running({"a": infer}) as kitchen:
        decoding = kitchen.block_decoding()
        task = await kitchen.start(encode_image(7), deadline_ms=50)
        fake_clock().advance_ms(51)
        with pytest.raises(DeadlineExceededError):
            await task
        decoding.set()
        await kitchen.flush_decoding()

    assert infer.calls == []
    assert kitchen.receipt.outcome == "deadline_exceeded"
    assert kitchen.receipt.timings.decode_ms == 0
    assert kitchen.queue.announced == 0


async def test_requests_that_wait_for_an_identical_image_keep_no_stranger_from_sending() -> None:
    infer = FakeInfer()
    infer.gate.clear()
    async with running({"a": infer}, cache=make_cache(), max_receiving=4) as kitchen:
        tasks = [await kitchen.start(encode_image(7)) for _ in range(5)]
        await asyncio.to_thread(infer.wait_for_lane)
        with kitchen.open(request_id="stranger"):
            """It is let in."""
        infer.gate.set()
        answers = await asyncio.gather(*tasks)
    assert [answer.receipt.cached for answer in answers] == [False, True, True, True, True]


async def test_only_so_many_requests_wait_for_an_identical_image_and_further_ones_compute() -> None:
    infer = FakeInfer()
    infer.gate.clear()
    async with running({"a": infer}, cache=make_cache(), max_receiving=2) as kitchen:
        tasks = [await kitchen.start(encode_image(7)) for _ in range(4)]
        await asyncio.to_thread(infer.wait_for_lane)
        infer.gate.set()
        answers = await asyncio.gather(*tasks)
        assert kitchen.classifier.in_flight == 0
    assert sorted(answer.receipt.cached for answer in answers) == [False, False, True, True]
