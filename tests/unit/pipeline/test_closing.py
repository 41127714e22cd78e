"""What becomes of images whose decode threads stop."""

import pytest

from bento_service.errors import DrainingError
from tests.fakes.clock import FakeTimeLoop
from tests.fakes.engine import FakeInfer
from tests.fakes.pipeline import encode_image, running

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": FakeTimeLoop}


async def test_images_that_no_decode_thread_has_taken_fail_as_draining_when_the_pool_closes() -> None:
    async with running({"a": FakeInfer()}) as observed:
        unblock = observed.block_decoding()
        waiting = await observed.start(encode_image())

        observed.close_decoding()

        with pytest.raises(DrainingError):
            await waiting
        assert observed.queue.announced == 0
        unblock.set()


async def test_an_image_that_comes_after_the_pool_is_closed_fails_as_draining() -> None:
    async with running({"a": FakeInfer()}) as observed:
        observed.close_decoding()

        with pytest.raises(DrainingError):
            await observed.classify(encode_image())
        assert observed.queue.announced == 0
        assert observed.receipt.outcome == "draining"
