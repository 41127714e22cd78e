"""Hits, misses, and one computation for identical requests in flight."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from bento_service.cache.base import CachedResult
from bento_service.cache.memory import MemoryStore
from bento_service.cache.result_cache import ResultCache, name_scope
from bento_service.domain.requests import Priority
from bento_service.errors import (
    DeadlineExceededError,
    InferenceFailedError,
    LightboxError,
    UndecodableImageError,
)
from tests.fakes.cache import Computation, CountingObserver, make_result
from tests.fakes.clock import FakeTimeLoop
from tests.fakes.pipeline import fake_clock

pytestmark = pytest.mark.anyio

DIGEST = "d" * 64
SCOPE = "scope"


class StuckStore(MemoryStore):
    """A store whose connection never closes."""

    async def close(self) -> None:
        await asyncio.get_running_loop().create_future()


class CacheUser:
    """Sends requests to a cache in memory; `lookups` counts them by `Lookup`."""

    def __init__(self) -> None:
        observer = CountingObserver()
        self.lookups = observer.lookups
        self.cache = ResultCache(MemoryStore(1_000_000), observer=observer)

    async def fetch(
        self,
        compute: Callable[[], Awaitable[CachedResult]],
        *,
        digest: str = DIGEST,
        scope: str = SCOPE,
        priority: Priority = Priority.INTERACTIVE,
    ) -> CachedResult:
        return await self.cache.fetch(digest, scope=scope, priority=priority, compute=compute)

    async def start(
        self, compute: Callable[[], Awaitable[CachedResult]], *, priority: Priority = Priority.INTERACTIVE
    ) -> "asyncio.Task[CachedResult]":
        """Return once the request computes, or waits for one that does."""
        task = asyncio.create_task(self.fetch(compute, priority=priority))
        await asyncio.sleep(0)
        return task


async def compute_at_once() -> CachedResult:
    return make_result()


async def never() -> CachedResult:
    raise AssertionError("this request must not compute")


async def test_a_second_request_is_served_from_the_cache() -> None:
    user = CacheUser()
    first = await user.fetch(compute_at_once)
    assert await user.fetch(never) is first
    described = dict(user.cache.describe())
    assert described.pop("bytes") > 0
    assert described == {"hit": 1, "shared": 0, "miss": 1, "recent_hit_rate": 0.5, "entries": 1}
    assert user.lookups == {"miss": 1, "hit": 1}


async def test_another_image_or_another_scope_finds_nothing() -> None:
    user = CacheUser()
    await user.fetch(compute_at_once)
    await user.fetch(compute_at_once, digest="e" * 64)
    await user.fetch(compute_at_once, scope="other")
    assert user.lookups == {"miss": 3}


async def test_identical_requests_in_flight_share_one_computation() -> None:
    user = CacheUser()
    computation = Computation()
    leader = await user.start(computation)
    followers = [await user.start(never) for _ in range(3)]
    computation.result.set_result(make_result())
    found = await asyncio.gather(leader, *followers)
    assert len(set(map(id, found))) == 1
    assert user.lookups == {"miss": 1, "shared": 3}


@pytest.mark.parametrize(
    "error", [asyncio.CancelledError(), DeadlineExceededError("too late"), ValueError("a defect")], ids=repr
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
    while not computation.started:  # noqa: ASYNC110 - a computation tells nobody
        await asyncio.sleep(0)
    computation.result.set_result(make_result())
    await asyncio.gather(*followers)
    assert user.lookups == {"miss": 2, "shared": 2}
    assert computation.started == 1


async def test_a_follower_that_leaves_disturbs_neither_leader_nor_followers() -> None:
    user = CacheUser()
    computation = Computation()
    leader = await user.start(computation)
    gone, patient = await user.start(never), await user.start(never)
    gone.cancel()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await user.fetch(never)
    computation.result.set_result(make_result())
    assert await leader is await patient
    assert gone.cancelled()
    assert computation.cancelled == 0


@pytest.mark.parametrize("error", [UndecodableImageError("truncated", at=5), InferenceFailedError("not a number")])
async def test_an_error_of_the_image_is_shared_and_not_kept(error: LightboxError) -> None:
    user = CacheUser()
    computation = Computation()
    leader = await user.start(computation)
    followers = [await user.start(never) for _ in range(2)]
    computation.result.set_exception(error)
    raised = await asyncio.gather(leader, *followers, return_exceptions=True)
    # Each task raises its own copy, since a traceback is written into the exception.
    assert len(set(map(id, raised))) == 3
    for each in raised:
        assert isinstance(each, type(error))
        assert (each.message, each.details) == (error.message, error.details)
    await user.fetch(compute_at_once)
    assert user.lookups == {"miss": 2, "shared": 2}


async def test_bulk_requests_wait_for_each_other_and_for_interactive_ones_only() -> None:
    user = CacheUser()
    slow, fast = Computation(), Computation()
    first_bulk = await user.start(slow, priority=Priority.BULK)
    second_bulk = await user.start(never, priority=Priority.BULK)
    interactive = await user.start(fast)
    late_bulk = await user.start(never, priority=Priority.BULK)
    fast.result.set_result(make_result(1))
    assert await interactive is await late_bulk
    slow.result.set_result(make_result(2))
    assert await first_bulk is await second_bulk


@pytest.mark.parametrize(("given_up", "kept"), [tuple(Priority), tuple(reversed(Priority))])
async def test_a_leader_that_gives_up_leaves_that_of_the_other_priority_its_followers(
    given_up: Priority, kept: Priority
) -> None:
    user = CacheUser()
    computations = {priority: Computation() for priority in Priority}
    leaders = {
        priority: await user.start(computations[priority], priority=priority)
        for priority in (Priority.BULK, Priority.INTERACTIVE)
    }
    computations[given_up].result.set_exception(DeadlineExceededError("too late"))
    with pytest.raises(DeadlineExceededError):
        await leaders[given_up]
    follower = await user.start(never, priority=kept)
    computations[kept].result.set_result(make_result())
    assert await leaders[kept] is await follower


@pytest.mark.parametrize("size_bytes", [0, 1_000, 262_144, 262_145, 3_000_000])
async def test_the_digest_is_the_sha256_of_the_bytes_whatever_their_number(size_bytes: int) -> None:
    encoded = b"x" * size_bytes
    user = CacheUser()
    assert await user.cache.digest(encoded) == hashlib.sha256(encoded).hexdigest()
    await user.cache.close()


def test_closing_gives_up_on_a_store_that_hangs(caplog: pytest.LogCaptureFixture) -> None:
    async def close() -> None:
        closing = asyncio.create_task(ResultCache(StuckStore(1_000), observer=CountingObserver()).close())
        await asyncio.sleep(0)
        fake_clock().advance_ms(10_000)
        await closing

    with asyncio.Runner(loop_factory=FakeTimeLoop) as runner:
        runner.run(close())
    assert "took longer than" in caplog.text


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
