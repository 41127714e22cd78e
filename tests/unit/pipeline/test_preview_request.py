import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from PIL import Image

from bento_service.errors import DrainingError, OverloadedError, UndecodableImageError
from tests.fakes.engine import FakeInfer
from tests.fakes.pipeline import ObservedClassifier, encode_image, running

pytestmark = pytest.mark.anyio


async def draw(observed: ObservedClassifier, encoded: bytes) -> Image.Image:
    with observed.classifier.open_preview() as pending:
        preview = await pending.draw(encoded)
    return Image.open(io.BytesIO(preview.png))


@asynccontextmanager
async def waiting_preview(
    *, max_queued: int = 50
) -> AsyncIterator[tuple[ObservedClassifier, "asyncio.Task[Image.Image]"]]:
    """Hold a preview before the busy decode thread; at the end the thread is free."""
    async with running({"a": FakeInfer()}, max_queued=max_queued) as observed:
        thread_is_free = observed.block_decoding()
        preview = asyncio.create_task(draw(observed, encode_image(7)))
        await asyncio.sleep(0)
        yield observed, preview
        thread_is_free.set()
        await asyncio.wait([preview])
    assert observed.classifier.in_flight == 0


async def test_a_preview_is_drawn_without_a_receipt() -> None:
    async with running({"a": FakeInfer()}) as observed:
        image = await draw(observed, encode_image(7))
        with pytest.raises(UndecodableImageError):
            await draw(observed, encode_image()[:-20])
    assert (image.size, image.getpixel((0, 0))) == ((12, 10), (7, 7, 7))
    assert observed.observer.receipts == []
    observed.check_left_nothing()


async def test_interactive_images_are_decoded_before_a_preview() -> None:
    async with running({"a": FakeInfer()}) as observed:
        thread_is_free = observed.block_decoding()
        preview = asyncio.create_task(draw(observed, encode_image(1)))
        await asyncio.sleep(0)
        answers = await observed.start_many(5, encode_image(2, width_px=100, height_px=100))
        assert observed.classifier.in_flight == 6
        thread_is_free.set()
        await preview
        assert observed.queue.expected == 0  # the other images are decoded
        await asyncio.gather(*answers)


async def test_a_cancelled_preview_frees_its_place() -> None:
    async with waiting_preview() as (observed, preview):
        preview.cancel()
        await asyncio.wait([preview])
        assert observed.classifier.in_flight == 0


async def test_previews_take_half_of_the_queue_at_most() -> None:
    async with waiting_preview(max_queued=2) as (observed, _):
        with pytest.raises(OverloadedError):
            observed.classifier.open_preview()
    assert observed.observer.rejections == ["queue_full"]


async def test_a_drain_waits_for_a_preview_and_admits_no_further_one() -> None:
    async with waiting_preview() as (observed, preview):
        drain = asyncio.create_task(observed.classifier.drain(timeout_s=5))
        await asyncio.sleep(0)
        with pytest.raises(DrainingError):
            observed.classifier.open_preview()
    assert (await preview).size == (12, 10)
    assert await drain == 0


async def test_images_and_previews_fail_as_draining_when_the_decode_pool_closes() -> None:
    async with waiting_preview() as (observed, preview):
        image = await observed.start(encode_image())
        observed.close_decoding()
        for waiting in (preview, image):
            with pytest.raises(DrainingError):
                await waiting
        with pytest.raises(DrainingError):
            await draw(observed, encode_image())
        with pytest.raises(DrainingError):
            await observed.classify(encode_image())
        assert observed.queue.expected == 0
    assert [receipt.outcome for receipt in observed.observer.receipts] == ["draining"] * 2
