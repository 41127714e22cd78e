"""A near store in front of a far one."""

import asyncio
from collections.abc import Mapping

from bento_service.cache.base import CachedResult, ResultStore


class TieredStore:
    """A `ResultStore` that asks a near store first, and keeps there what it found in a far one."""

    def __init__(self, near: ResultStore, far: ResultStore) -> None:
        self._near = near
        self._far = far

    async def get(self, key: str) -> CachedResult | None:
        """Return the result under a key, or None."""
        result = await self._near.get(key)
        if result is None:
            result = await self._far.get(key)
            if result is not None:
                self._near.put(key, result)
        return result

    def put(self, key: str, result: CachedResult) -> None:
        """Keep a result in both."""
        self._near.put(key, result)
        self._far.put(key, result)

    def describe(self) -> Mapping[str, float]:
        """Return what both say."""
        return {**self._far.describe(), **self._near.describe()}

    async def close(self) -> None:
        """Close both."""
        await asyncio.gather(self._near.close(), self._far.close())
