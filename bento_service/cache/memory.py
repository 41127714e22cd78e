"""Results in this process's memory."""

import sys
from collections.abc import Callable, Mapping

from cachetools import LRUCache

from bento_service.cache.base import CachedResult

_OVERHEAD_BYTES = 900
"""Bytes of an entry in addition to its scores and warnings: key, objects, and slots in the dictionaries of the LRU. A
test compares it with what Python allocates."""


class MemoryStore:
    """A `ResultStore` in this process: an LRU bounded by bytes, overhead included."""

    def __init__(
        self, max_bytes: int, *, on_change: Callable[[int, int], None] = lambda entries, size_bytes: None
    ) -> None:
        """Keep at most `max_bytes`; call `on_change` with entries and bytes after each `put`."""
        self._results: LRUCache[str, CachedResult] = LRUCache(max_bytes, getsizeof=estimate_bytes)
        self._on_change = on_change

    async def get(self, key: str) -> CachedResult | None:
        """Return the result under a key, or None, without waiting."""
        return self._results.get(key)

    def put(self, key: str, result: CachedResult) -> None:
        """Keep a result, and evict those used least recently."""
        if estimate_bytes(result) > self._results.maxsize:
            return
        self._results[key] = result
        self._on_change(len(self._results), int(self._results.currsize))

    def describe(self) -> Mapping[str, float]:
        """Return `entries` and `bytes`."""
        return {"entries": len(self._results), "bytes": self._results.currsize}

    async def close(self) -> None:
        """Forget everything."""
        self._results.clear()


def estimate_bytes(result: CachedResult) -> int:
    """Return the memory that a result takes in a `MemoryStore`, its key included."""
    return _OVERHEAD_BYTES + result.scores.nbytes + sys.getsizeof(result.warnings)
