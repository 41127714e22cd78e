import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bento_service.cache.memory import MemoryStore
from bento_service.cache.result_cache import ResultCache
from bento_service.domain.registry import CHAMPION, Deployment, Shadow
from bento_service.pipeline.shadows import DROPPED, FAILED
from tests.fakes.cache import CountingObserver
from tests.fakes.engine import FakeInfer
from tests.fakes.pipeline import ObservedClassifier, encode_image, make_warm, running
from tests.unit.pipeline.test_live_models import NEW, OLD, Shelf, ask

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def shadowed(
    challenger: Shelf, champion: FakeInfer | None = None, *, share: float = 1.0, cache: ResultCache | None = None
) -> AsyncIterator[ObservedClassifier]:
    async with running({"a": champion or FakeInfer()}, load_version=challenger.load, cache=cache) as observed:
        await observed.models.load("a", NEW)
        observed.models.set_deployment(Deployment("a", (OLD, NEW), {CHAMPION: OLD}, shadow=Shadow(NEW, share)))
        yield observed


async def flush(observed: ObservedClassifier, done: int) -> None:
    """Return once so many images were compared or missed."""
    while len(observed.observer.comparisons) + len(observed.observer.missed) < done:
        await observed.flush_decoding()


async def test_an_answered_image_runs_on_the_shadow_too_and_the_scores_are_compared() -> None:
    shelf = Shelf()
    async with shadowed(shelf) as observed:
        assert await ask(observed, 51) == OLD
        await flush(observed, 1)
        observed.check_left_nothing()
    [comparison] = observed.observer.comparisons
    assert (comparison.name, comparison.version, comparison.challenger) == ("a", OLD, NEW)
    assert comparison.request_id == "r-1"
    # The fake models differ in their last score only: 0 and 1.
    assert (comparison.is_same_class, comparison.max_difference) == (False, 1.0)
    assert [receipt.model_version for receipt in observed.observer.receipts] == [OLD]


async def test_a_share_of_the_images_is_compared_each_once_even_if_the_cache_answers() -> None:
    shelf = Shelf()
    cache = ResultCache(MemoryStore(100_000), observer=CountingObserver())
    async with shadowed(shelf, share=0.0, cache=cache) as observed:
        await ask(observed, 1)
        observed.models.set_deployment(Deployment("a", (OLD, NEW), {CHAMPION: OLD}, shadow=Shadow(NEW, 1.0)))
        for _ in range(3):
            await ask(observed, 1)
            await flush(observed, 1)
        assert [receipt.cached for receipt in observed.observer.receipts] == [False, True, True, True]
    assert len(observed.observer.comparisons) == 1
    assert shelf.infer.calls.count((1,)) == 1
    await cache.close()


async def test_a_challenger_that_fails_costs_no_answer() -> None:
    shelf = Shelf()
    shelf.warm = make_warm(shelf.warm.card, FakeInfer(1, poison={3}))
    async with shadowed(shelf) as observed:
        assert await ask(observed, 3) == OLD
        await flush(observed, 1)
        observed.check_left_nothing()
    assert observed.observer.missed == [FAILED]
    assert observed.receipt.outcome == "ok"


async def test_nothing_is_compared_while_the_service_is_busy_or_draining() -> None:
    shelf, champion = Shelf(), FakeInfer()
    async with shadowed(shelf, champion) as observed:
        busy = [await observed.occupy_lane(champion)]
        busy += await observed.start_many(9)
        champion.gate.set()
        await asyncio.gather(*busy)
        assert DROPPED in observed.observer.missed
        seen = len(observed.observer.comparisons) + len(observed.observer.missed)
        with observed.open() as pending:
            observed.classifier.stop_admitting()
            await pending.classify(encode_image(99))
        assert await observed.classifier.drain(timeout_s=0) == 0
    assert 99 not in shelf.infer.computed
    assert len(observed.observer.comparisons) + len(observed.observer.missed) == seen
