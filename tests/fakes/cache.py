"""Results, a counting observer, and computations that a test ends."""

import asyncio
from collections import Counter

import numpy as np

from bento_service.cache.base import CachedResult
from bento_service.domain.requests import ImageInfo


def make_result(seed: int = 1, *, classes: int = 10, warnings: tuple[str, ...] = ()) -> CachedResult:
    """Make a result that is unique to its seed."""
    scores = np.random.default_rng(seed).random(classes, dtype=np.float32)
    return CachedResult.of(scores, ImageInfo("JPEG", 400 + seed, 300), warnings)


class CountingObserver:
    """A `CacheObserver` that counts."""

    def __init__(self) -> None:
        self.lookups: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.size = (0, 0)

    def observe_lookup(self, result: str) -> None:
        self.lookups[result] += 1

    def observe_cache_failure(self, operation: str) -> None:
        self.failures[operation] += 1

    def observe_cache_size(self, entries: int, size_bytes: int) -> None:
        self.size = (entries, size_bytes)


class Computation:
    """A computation that runs until `result` is set, and counts its starts and cancellations."""

    def __init__(self) -> None:
        self.result: asyncio.Future[CachedResult] = asyncio.get_running_loop().create_future()
        self.started = 0
        self.cancelled = 0

    async def __call__(self) -> CachedResult:
        self.started += 1
        try:
            return await asyncio.shield(self.result)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
