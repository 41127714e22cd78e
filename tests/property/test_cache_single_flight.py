"""Each client gets exactly one outcome: that of its image, or its own cancellation or refusal."""

import asyncio
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from bento_service.cache.base import CachedResult
from bento_service.cache.memory import MemoryStore
from bento_service.cache.result_cache import ResultCache
from bento_service.domain.requests import Priority
from bento_service.errors import DeadlineExceededError, UndecodableImageError
from tests.fakes.cache import CountingObserver, make_result

BROKEN = 3
"""The image that cannot be decoded."""


@dataclass(frozen=True)
class Client:
    """One request. `comes_at`, `leaves_at` and `duration` count turns of the event loop; it may refuse to compute."""

    image: int
    priority: Priority
    comes_at: int
    leaves_at: int | None
    duration: int
    is_refused: bool


clients = st.lists(
    st.builds(
        Client,
        image=st.integers(0, BROKEN),
        priority=st.sampled_from(Priority),
        comes_at=st.integers(0, 10),
        leaves_at=st.none() | st.integers(0, 20),
        duration=st.integers(0, 10),
        is_refused=st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


class Counter:
    """Counts the completed computations of each image."""

    def __init__(self, cache: ResultCache) -> None:
        self._cache = cache
        self.computed = [0] * (BROKEN + 1)

    async def serve(self, client: Client) -> CachedResult:
        for _ in range(client.comes_at):
            await asyncio.sleep(0)
        return await self._cache.fetch(
            str(client.image), scope="", priority=client.priority, compute=lambda: self._compute(client)
        )

    async def _compute(self, client: Client) -> CachedResult:
        for _ in range(client.duration):
            await asyncio.sleep(0)
        if client.is_refused:
            raise DeadlineExceededError("mine alone")
        if client.image == BROKEN:
            raise UndecodableImageError("the image's")
        self.computed[client.image] += 1
        return make_result(client.image)


async def leave(task: "asyncio.Task[CachedResult]", client: Client) -> None:
    if client.leaves_at is not None:
        for _ in range(client.leaves_at):
            await asyncio.sleep(0)
        task.cancel()


async def run(requests: list[Client]) -> None:
    cache = ResultCache(MemoryStore(1_000_000), observer=CountingObserver())
    counter = Counter(cache)
    tasks = [asyncio.create_task(counter.serve(client)) for client in requests]
    leaving = [leave(task, client) for task, client in zip(tasks, requests, strict=True)]
    outcomes, _ = await asyncio.gather(
        asyncio.gather(*tasks, return_exceptions=True), asyncio.gather(*leaving, return_exceptions=True)
    )
    for client, outcome in zip(requests, outcomes, strict=True):
        if isinstance(outcome, CachedResult):
            assert client.image != BROKEN
            assert outcome.image == make_result(client.image).image
        elif isinstance(outcome, asyncio.CancelledError):
            assert client.leaves_at is not None
        elif isinstance(outcome, DeadlineExceededError):
            assert client.is_refused
        else:
            assert isinstance(outcome, UndecodableImageError)
            assert client.image == BROKEN
    # One computation, and at most one more for an interactive request that passed a bulk one.
    assert max(counter.computed) <= len(Priority)


@settings(max_examples=500)
@given(clients)
def test_each_client_gets_its_images_outcome_or_its_own_refusal(requests: list[Client]) -> None:
    asyncio.run(run(requests))
