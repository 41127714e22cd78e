"""The current table of served models, and which older ones requests still use."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from bento_service.pipeline.served_models import ServedModels


class ModelTable:
    """Holds the current `ServedModels`; each request holds the one that it was admitted with. Used on the event loop.

    A version that the current table lacks may be closed once nobody holds an older table that has it.
    """

    def __init__(self, models: ServedModels) -> None:
        self._current = models
        self._holders: Counter[int] = Counter()
        self._held: dict[int, ServedModels] = {}
        self._released = asyncio.Event()

    @property
    def current(self) -> ServedModels:
        """What is served now."""
        return self._current

    def replace(self, models: ServedModels) -> None:
        """Serve something else from now on."""
        self._current = models

    @contextmanager
    def hold(self, models: ServedModels) -> Iterator[ServedModels]:
        """Keep every version of a table open."""
        self.take(models)
        try:
            yield models
        finally:
            self.release(models)

    def take(self, models: ServedModels) -> None:
        """Begin to hold a table; `release` ends it."""
        key = id(models)
        self._held[key] = models
        self._holders[key] += 1

    def release(self, models: ServedModels) -> None:
        """End one hold of a table."""
        key = id(models)
        self._holders[key] -= 1
        if not self._holders[key]:
            del self._holders[key], self._held[key]
            self._released.set()

    async def wait_unused(self, key: str) -> None:
        """Return once nobody holds a table that has this version; the current one must not have it."""
        while any(models.has(key) for models in self._held.values()):
            self._released.clear()
            await self._released.wait()
