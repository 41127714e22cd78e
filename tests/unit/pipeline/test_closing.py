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


async def test_images_that_no_decode_thread_has_taken_are_told_that_the_server_shuts_down() -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        unblock = kitchen.block_decoding()
        waiting = await kitchen.start(encode_image())

        kitchen.close_decoding()

        with pytest.raises(DrainingError):
            await waiting
        assert kitchen.queue.announced == 0
        unblock.set()


async def test_an_image_that_comes_after_the_decode_threads_have_gone_is_told_so() -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        kitchen.close_decoding()

        with pytest.raises(DrainingError):
            await kitchen.classify(encode_image())
        assert kitchen.queue.announced == 0
        assert kitchen.receipt.outcome == "draining"
