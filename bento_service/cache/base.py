"""What the cache keeps, and what a place that keeps it promises."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.requests import ImageInfo


@dataclass(frozen=True, slots=True, eq=False)
class CachedResult:
    """What a model made of an image, before anybody's `top_k`.

    `scores` holds probabilities, float32, shape (classes,), in memory of its own that nobody writes to; `warnings` are
    those of the image's intake.
    """

    scores: NDArray[np.float32]
    image: ImageInfo
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, scores: NDArray[np.float32], image: ImageInfo, warnings: tuple[str, ...]) -> "CachedResult":
        """Copy one row out of a batch's scores, which would else stay in memory as long as the row does."""
        own = np.array(scores, dtype=np.float32)
        own.flags.writeable = False
        return cls(own, image, warnings)


class Lookup(StrEnum):
    """What became of one request at the cache."""

    HIT = "hit"
    """The answer was there."""
    SHARED = "shared"
    """An identical request was in flight, and its answer served."""
    MISS = "miss"
    """It was not there. It is computed, and kept if that succeeds."""
    BYPASSED = "bypassed"
    """It was not looked up, since lately too few answers were there."""


class CacheObserver(Protocol):
    """Who is told of what the cache does; called on the event loop, so it must not wait."""

    def observe_lookup(self, result: str) -> None:
        """Take note of what became of one request: a `Lookup`."""

    def observe_cache_failure(self, operation: str) -> None:
        """Take note of a store that did not serve: `read`, `write`, `busy` or `refused_write`."""

    def observe_cache_size(self, entries: int, size_bytes: int) -> None:
        """Take note of how much is kept in this process's memory."""


class ResultStore(Protocol):
    """Keeps results by key. Used on one event loop.

    Neither method raises for what is wrong with the store: a result that cannot be read is none, and one that cannot be
    kept is lost.
    """

    async def get(self, key: str) -> CachedResult | None:
        """Return the result under a key, or None. May be cancelled."""

    def put(self, key: str, result: CachedResult) -> None:
        """Keep a result, at once or soon, without waiting. Keys are immutable: the same key means the same result."""

    def describe(self) -> Mapping[str, float]:
        """Return what there is to say of the store in numbers, by name."""

    async def close(self) -> None:
        """Release what it holds. The store is not used after."""
