import asyncio
import io

import pytest
from PIL import Image

from bento_service.errors import DrainingError, OverloadedError, UndecodableImageError
from tests.fakes.clock import FakeTimeLoop
from tests.fakes.engine import FakeInfer
from tests.fakes.pipeline import Kitchen, encode_image, running

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": FakeTimeLoop}


async def draw(kitchen: Kitchen, encoded: bytes) -> Image.Image:
    with kitchen.classifier.open_preview() as pending:
        preview = await pending.draw(encoded)
    return Image.open(io.BytesIO(preview.png))


async def test_a_preview_is_drawn_without_model_and_receipt() -> None:
    infer = FakeInfer()
    async with running({"a": infer}) as kitchen:
        image = await draw(kitchen, encode_image(7))
    assert (image.size, image.getpixel((0, 0))) == ((12, 10), (7, 7, 7))
    assert kitchen.notebook.receipts == []
    assert kitchen.classifier.in_flight == 0


async def test_images_that_somebody_waits_for_are_decoded_first() -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        thread_is_free = kitchen.block_decoding()
        preview = asyncio.create_task(draw(kitchen, encode_image(1)))
        await asyncio.sleep(0)
        answers = [await kitchen.start(encode_image(2, width_px=100, height_px=100)) for _ in range(5)]
        assert kitchen.classifier.in_flight == 6
        thread_is_free.set()
        await preview
        assert kitchen.queue.announced == 0  # the other images are decoded
        await asyncio.gather(*answers)
    assert kitchen.classifier.in_flight == 0


async def test_a_preview_that_fails_or_is_cancelled_frees_its_place() -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        with pytest.raises(UndecodableImageError):
            await draw(kitchen, encode_image()[:-20])
        thread_is_free = kitchen.block_decoding()
        preview = asyncio.create_task(draw(kitchen, encode_image()))
        await asyncio.sleep(0)
        preview.cancel()
        await asyncio.wait([preview])
        assert kitchen.classifier.in_flight == 0
        thread_is_free.set()
    assert kitchen.notebook.receipts == []


async def test_previews_take_half_of_the_queue_at_most_and_a_refusal_counts_as_one() -> None:
    async with running({"a": FakeInfer()}, max_queued=2) as kitchen:
        thread_is_free = kitchen.block_decoding()
        first = asyncio.create_task(draw(kitchen, encode_image()))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            kitchen.classifier.open_preview()
        thread_is_free.set()
        await first
    assert kitchen.notebook.sheds == ["queue_full"]


async def test_a_drain_waits_for_a_preview_and_admits_no_further_one() -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        thread_is_free = kitchen.block_decoding()
        preview = asyncio.create_task(draw(kitchen, encode_image()))
        await asyncio.sleep(0)
        drain = asyncio.create_task(kitchen.classifier.drain(timeout_s=5))
        await asyncio.sleep(0)
        with pytest.raises(DrainingError):
            kitchen.classifier.open_preview()
        thread_is_free.set()
        assert (await preview).size == (12, 10)
        assert await drain == 0


async def test_a_preview_that_no_thread_took_before_the_end_says_so() -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        thread_is_free = kitchen.block_decoding()
        preview = asyncio.create_task(draw(kitchen, encode_image()))
        await asyncio.sleep(0)
        kitchen.close_decoding()
        with pytest.raises(DrainingError):
            await preview
        with pytest.raises(DrainingError):
            await draw(kitchen, encode_image())
        thread_is_free.set()
