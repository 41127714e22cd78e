"""How a classifier stops."""

import asyncio

import pytest

from bento_service.errors import DrainingError
from tests.fakes.clock import FakeTimeLoop
from tests.fakes.engine import FakeInfer
from tests.fakes.pipeline import encode_image, running

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": FakeTimeLoop}


async def test_a_draining_classifier_finishes_admitted_images_only() -> None:
    async with running({"a": FakeInfer()}) as observed:
        with observed.open() as admitted:
            observed.classifier.stop_admitting()
            with pytest.raises(DrainingError) as refusal:
                observed.open(request_id="r-2")
            await admitted.classify(encode_image())
    assert refusal.value.retry_after_s > 0
    assert [receipt.outcome for receipt in observed.observer.receipts] == ["draining", "ok"]
    assert observed.classifier.is_draining


async def test_an_admitted_request_may_go_on_until_the_drain_ends() -> None:
    async with running({"a": FakeInfer()}) as observed:
        observed.classifier.stop_admitting()
        with observed.open(request_id="r-1", continues_request=True) as admitted:
            await admitted.classify(encode_image())
        observed.classifier.give_up()
        with pytest.raises(DrainingError):
            observed.open(request_id="r-2", continues_request=True)
    assert [receipt.outcome for receipt in observed.observer.receipts] == ["ok", "draining"]


@pytest.mark.parametrize("is_in_time", [True, False])
async def test_a_drain_waits_for_admitted_images_until_its_time_is_up(is_in_time: bool) -> None:
    infer = FakeInfer()
    async with running({"a": infer}) as observed:
        infer.gate.clear()
        requests = [await observed.start(encode_image(value)) for value in (1, 2)]
        drain = asyncio.create_task(observed.classifier.drain(timeout_s=60 if is_in_time else 0))
        await asyncio.sleep(0)
        assert observed.classifier.is_draining
        if is_in_time:
            assert not drain.done()
            infer.gate.set()
        assert await drain == (0 if is_in_time else 2)
        infer.gate.set()
        await asyncio.gather(*requests)
    assert [receipt.outcome for receipt in observed.observer.receipts] == ["ok", "ok"]


async def test_a_request_cancelled_after_the_drain_counts_as_draining() -> None:
    infer = FakeInfer()
    async with running({"a": infer}) as observed:
        infer.gate.clear()
        for value in (1, 2):
            request = await observed.start(encode_image(value))
            request.cancel()
            await asyncio.wait([request])
            observed.classifier.give_up()
    assert [receipt.outcome for receipt in observed.observer.receipts] == ["cancelled", "draining"]
