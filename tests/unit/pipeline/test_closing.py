"""As a process ends, what is admitted and what is journalled get their due, whatever else goes wrong."""

import time

import pytest

from bento_service.cache.memory import MemoryStore
from bento_service.cache.result_cache import ResultCache
from bento_service.errors import DrainingError
from bento_service.pipeline.pipeline import Leftovers, Pipeline, PipelineParts
from bento_service.settings import Settings
from tests.fakes.cache import CountingObserver
from tests.fakes.clock import FakeTimeLoop
from tests.fakes.engine import FakeInfer
from tests.fakes.journal import FakeJournal
from tests.fakes.pipeline import Kitchen, encode_image, running

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": FakeTimeLoop}


class ClosingJournal(FakeJournal):
    """Says whether it was closed, and how many receipts it lost."""

    is_closed = False

    def close(self, timeout_s: float = 10.0) -> int:
        self.is_closed = True
        return 3


class Part:
    """Anything that closes, or fails to. `has_ended` is for lanes: whether none is at work any more."""

    def __init__(self, error: Exception | None = None, *, has_ended: bool = True) -> None:
        self.is_closed = False
        self.has_ended = has_ended
        self._error = error

    def close(self, **options: object) -> None:
        self.is_closed = True
        if self._error is not None:
            raise self._error


class BrokenStore(MemoryStore):
    """A store that fails to close."""

    async def close(self) -> None:
        raise OSError("the connection broke")


def make_lightbox(kitchen: Kitchen, journal: FakeJournal, parts: PipelineParts) -> Pipeline:
    return Pipeline(
        settings=Settings(), classifier=kitchen.classifier, journal=journal, parts=parts, started_s=time.monotonic()
    )


@pytest.mark.parametrize("broken", ["lanes", "cache"])
async def test_a_part_that_fails_to_close_takes_neither_the_others_nor_the_journal_with_it(
    broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    lanes = Part(RuntimeError("stuck") if broken == "lanes" else None)
    decoding, models, journal = Part(), Part(), ClosingJournal()
    store = (BrokenStore if broken == "cache" else MemoryStore)(1_000)
    parts = PipelineParts(models, lanes, decoding, ResultCache(store, observer=CountingObserver()))  # type: ignore[arg-type]

    async with running({"a": FakeInfer()}) as kitchen:
        leftovers = await make_lightbox(kitchen, journal, parts).close(drain_s=1)

    assert leftovers == Leftovers(unanswered=0, unwritten=3)
    assert (lanes.is_closed, decoding.is_closed, models.is_closed, journal.is_closed) == (True,) * 4
    assert "A part failed to close" in caplog.text


async def test_a_lane_that_never_ends_keeps_its_model_and_not_the_journal_from_closing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    decoding, models, journal = Part(), Part(), ClosingJournal()
    parts = PipelineParts(models, Part(has_ended=False), decoding, None)  # type: ignore[arg-type]

    async with running({"a": FakeInfer()}) as kitchen:
        await make_lightbox(kitchen, journal, parts).close(drain_s=1)

    assert (models.is_closed, decoding.is_closed, journal.is_closed) == (False, True, True)
    assert "A lane is still at work" in caplog.text


async def test_images_that_no_decode_thread_has_taken_are_told_that_the_server_shuts_down() -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        unblock = kitchen.block_decoding()
        waiting = await kitchen.start(encode_image())

        kitchen.close_decoding()

        with pytest.raises(DrainingError):
            await waiting
        assert kitchen.scheduler.expected == 0
        unblock.set()


async def test_an_image_that_comes_after_the_decode_threads_have_gone_is_told_so() -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        kitchen.close_decoding()

        with pytest.raises(DrainingError):
            await kitchen.classify(encode_image())
        assert kitchen.scheduler.expected == 0
        assert kitchen.receipt.outcome == "draining"
