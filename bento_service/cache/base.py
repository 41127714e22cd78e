"""The cache's interfaces: a result, the store that keeps it, and the observer of look-ups."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.requests import ImageInfo


@dataclass(frozen=True, slots=True, eq=False)
class CachedResult:
    """A model's result for an image, whatever `top_k` a request asks for.

    `scores` are probabilities, float32, shape (classes,), read-only and in memory of their own; `warnings` are those of
    the image's intake.
    """

    scores: NDArray[np.float32]
    image: ImageInfo
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, scores: NDArray[np.float32], image: ImageInfo, warnings: tuple[str, ...]) -> "CachedResult":
        """Copy `scores`: a row of a batch would keep the whole batch in memory."""
        own = np.array(scores, dtype=np.float32)
        own.flags.writeable = False
        return cls(own, image, warnings)


class Lookup(StrEnum):
    """The outcome of one request's look-up."""

    HIT = "hit"
    """The result was kept."""
    SHARED = "shared"
    """An identical request was in flight; its result serves both."""
    MISS = "miss"
    """The result is computed, and kept if that succeeds."""


class CacheObserver(Protocol):
    """Counts what the cache does. Called on the event loop, so it must not block."""

    def observe_lookup(self, result: str) -> None:
        """Count one request by its `Lookup`."""

    def observe_cache_failure(self, operation: str) -> None:
        """Count a failed operation of the store: `read`, `write`, `busy` or `refused_write`."""

    def observe_cache_size(self, entries: int, size_bytes: int) -> None:
        """Set what this process keeps in memory."""


class ResultStore(Protocol):
    """Keeps results by key. Used on one event loop.

    Neither `get` nor `put` raises if the store fails: a result that cannot be read is a miss, and one that cannot be
    written is lost.
    """

    async def get(self, key: str) -> CachedResult | None:
        """Return the result under a key, or None. May be cancelled."""

    def put(self, key: str, result: CachedResult) -> None:
        """Keep a result, now or soon, without waiting. The same key always means the same result."""

    def describe(self) -> Mapping[str, float]:
        """Return the store's figures by name."""

    async def close(self) -> None:
        """Release what it holds. The store is not used after."""
