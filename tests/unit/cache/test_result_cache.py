"""Hits, misses, and one computation for identical requests in flight."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from bento_service.cache.base import CachedResult, Lookup
from bento_service.cache.memory import MemoryStore
from bento_service.cache.result_cache import Found, ResultCache, name_scope
from bento_service.domain.requests import Priority
from bento_service.errors import (
    DeadlineExceededError,
    InferenceFailedError,
    LightboxError,
    UndecodableImageError,
)
from tests.fakes.cache import Computation, CountingObserver, make_result

pytestmark = pytest.mark.anyio

DIGEST = "d" * 64
SCOPE = "scope"


class CacheUser:
    """Sends requests to a cache in memory."""

    def __init__(self) -> None:
        self.counts = CountingObserver()
        self.cache = ResultCache(MemoryStore(1_000_000), observer=self.counts)

    async def fetch(
        self,
        compute: Callable[[], Awaitable[CachedResult]],
        *,
        digest: str = DIGEST,
        scope: str = SCOPE,
        priority: Priority = Priority.INTERACTIVE,
    ) -> Found:
        return await self.cache.fetch(digest, scope=scope, priority=priority, compute=compute)

    async def start(
        self, compute: Callable[[], Awaitable[CachedResult]], *, priority: Priority = Priority.INTERACTIVE
    ) -> "asyncio.Task[Found]":
        """Return once the request computes, or waits for one that does."""
        task = asyncio.create_task(self.fetch(compute, priority=priority))
        await asyncio.sleep(0)
        return task


def answering(result: CachedResult) -> Callable[[], Awaitable[CachedResult]]:
    async def compute() -> CachedResult:
        return result

    return compute


def failing(error: Exception) -> Callable[[], Awaitable[CachedResult]]:
    async def compute() -> CachedResult:
        raise error

    return compute


async def never() -> CachedResult:
    raise AssertionError("this request must not compute")


async def test_a_second_request_is_served_from_the_cache() -> None:
    user = CacheUser()
    first = await user.fetch(answering(make_result()))
    second = await user.fetch(never)
    assert (first.lookup, second.lookup) == (Lookup.MISS, Lookup.HIT)
    assert (first.is_cached, second.is_cached) == (False, True)
    assert second.result is first.result
    assert user.counts.lookups == {"miss": 1, "hit": 1}


async def test_another_image_or_another_scope_finds_nothing() -> None:
    user = CacheUser()
    await user.fetch(answering(make_result()))
    assert (await user.fetch(answering(make_result()), digest="e" * 64)).lookup is Lookup.MISS
    assert (await user.fetch(answering(make_result()), scope="other")).lookup is Lookup.MISS


async def test_identical_requests_in_flight_share_one_computation() -> None:
    user = CacheUser()
    computation = Computation()
    leader = await user.start(computation)
    followers = [await user.start(never) for _ in range(3)]
    computation.result.set_result(make_result())
    found = await asyncio.gather(leader, *followers)
    assert [each.lookup for each in found] == [Lookup.MISS, Lookup.SHARED, Lookup.SHARED, Lookup.SHARED]
    assert len({id(each.result) for each in found}) == 1
    assert computation.started == 1


@pytest.mark.parametrize(
    "error", [asyncio.CancelledError(), DeadlineExceededError("too late")], ids=["cancel", "deadline"]
)
async def test_a_follower_takes_over_from_a_leader_that_is_given_up(error: BaseException) -> None:
    user = CacheUser()
    given_up, computation = Computation(), Computation()
    leader = await user.start(given_up)
    followers = [await user.start(computation) for _ in range(3)]
    if isinstance(error, asyncio.CancelledError):
        leader.cancel()
    else:
        given_up.result.set_exception(error)
    with pytest.raises(type(error)):
        await leader
    computation.result.set_result(make_result())
    found = await asyncio.gather(*followers)
    assert sorted(each.lookup for each in found) == [Lookup.MISS, Lookup.SHARED, Lookup.SHARED]
    assert computation.started == 1


async def test_a_follower_that_hangs_up_disturbs_neither_leader_nor_followers() -> None:
    user = CacheUser()
    computation = Computation()
    leader = await user.start(computation)
    gone, patient = await user.start(never), await user.start(never)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    computation.result.set_result(make_result())
    assert (await leader).lookup is Lookup.MISS
    assert (await patient).lookup is Lookup.SHARED
    assert computation.cancelled == 0


async def test_a_follower_leaves_at_its_own_deadline() -> None:
    user = CacheUser()
    computation = Computation()
    leader = await user.start(computation)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await user.fetch(never)
    computation.result.set_result(make_result())
    assert (await leader).lookup is Lookup.MISS


@pytest.mark.parametrize("error", [UndecodableImageError("truncated", at=5), InferenceFailedError("not a number")])
async def test_an_error_of_the_image_is_shared_and_not_kept(error: LightboxError) -> None:
    user = CacheUser()
    computation = Computation()
    leader = await user.start(computation)
    followers = [await user.start(never) for _ in range(2)]
    computation.result.set_exception(error)
    raised = await asyncio.gather(leader, *followers, return_exceptions=True)
    # Each task raises its own copy, since a traceback is written into the exception.
    assert len({id(each) for each in raised}) == 3
    for each in raised:
        assert isinstance(each, type(error))
        assert each.message == error.message
        assert each.details == error.details
    assert (await user.fetch(answering(make_result()))).lookup is Lookup.MISS


async def test_after_an_unexpected_error_the_next_request_computes() -> None:
    user = CacheUser()
    with pytest.raises(ValueError, match="our mistake"):
        await user.fetch(failing(ValueError("our mistake")))
    assert (await user.fetch(answering(make_result()))).lookup is Lookup.MISS


async def test_an_interactive_request_waits_for_no_bulk_one() -> None:
    user = CacheUser()
    slow, fast = Computation(), Computation()
    bulk = await user.start(slow, priority=Priority.BULK)
    interactive = await user.start(fast)
    fast.result.set_result(make_result())
    assert (await interactive).lookup is Lookup.MISS
    slow.result.set_result(make_result())
    assert (await bulk).lookup is Lookup.MISS


async def test_bulk_requests_share_with_each_other_and_with_interactive_ones() -> None:
    user = CacheUser()
    slow, fast = Computation(), Computation()
    first_bulk = await user.start(slow, priority=Priority.BULK)
    second_bulk = await user.start(never, priority=Priority.BULK)
    interactive = await user.start(fast)
    late_bulk = await user.start(never, priority=Priority.BULK)
    fast.result.set_result(make_result(1))
    assert (await interactive).result is (await late_bulk).result
    slow.result.set_result(make_result(2))
    assert (await first_bulk).result is (await second_bulk).result


async def test_a_bulk_leader_that_was_passed_keeps_its_followers_where_the_interactive_one_gives_up() -> None:
    user = CacheUser()
    slow, refused = Computation(), Computation()
    bulk = await user.start(slow, priority=Priority.BULK)
    interactive = await user.start(refused)
    refused.result.set_exception(DeadlineExceededError("too late"))
    with pytest.raises(DeadlineExceededError):
        await interactive
    follower = await user.start(never, priority=Priority.BULK)
    slow.result.set_result(make_result())
    assert (await bulk).result is (await follower).result


async def test_a_bulk_leader_that_was_passed_leaves_the_interactive_one_its_followers() -> None:
    user = CacheUser()
    slow, fast = Computation(), Computation()
    bulk = await user.start(slow, priority=Priority.BULK)
    interactive = await user.start(fast)
    slow.result.set_exception(DeadlineExceededError("too late"))
    with pytest.raises(DeadlineExceededError):
        await bulk
    follower = await user.start(never)
    fast.result.set_result(make_result())
    assert (await interactive).result is (await follower).result


@pytest.mark.parametrize("size_bytes", [0, 1_000, 262_144, 262_145, 3_000_000])
async def test_the_digest_is_the_sha256_of_the_bytes_whatever_their_number(size_bytes: int) -> None:
    encoded = b"x" * size_bytes
    user = CacheUser()
    assert await user.cache.digest(encoded) == hashlib.sha256(encoded).hexdigest()
    await user.cache.close()


async def test_the_cache_describes_its_lookups_and_its_store() -> None:
    user = CacheUser()
    await user.fetch(answering(make_result()))
    await user.fetch(never)
    described = dict(user.cache.describe())
    assert described.pop("bytes") > 0
    assert described == {"hit": 1, "shared": 0, "miss": 1, "recent_hit_rate": 0.5, "entries": 1}


def test_the_scope_differs_for_everything_that_changes_scores() -> None:
    name = partial(name_scope, library="openvino 1.0", device_kind="cpu", precision="f32", min_oversampling=None)
    scopes = {
        name("v1"),
        name("v2"),
        name("v1", library="torch 1.0"),
        name("v1", library="openvino 1.1"),
        name("v1", device_kind="cuda"),
        name("v1", precision="fp16"),
        name("v1", min_oversampling=3),
    }
    assert len(scopes) == 7
