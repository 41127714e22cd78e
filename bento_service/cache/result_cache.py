"""Answers to images that were seen before, and one computation for those that are seen at the same time."""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass

from bento_service import __version__
from bento_service.cache.base import CachedResult, CacheObserver, Lookup, ResultStore
from bento_service.cache.bypass import Bypass
from bento_service.cache.flights import Flight
from bento_service.domain.requests import Priority
from bento_service.errors import (
    ImageTooLargeError,
    InferenceFailedError,
    LightboxError,
    MissingImageError,
    TooManyPixelsError,
    UndecodableImageError,
    UnsupportedFormatError,
)
from bento_service.settings import CACHE_CLOSE_S

logger = logging.getLogger(__name__)

_MAX_BYTES_ON_LOOP = 262_144
"""A larger image is digested in a thread: so many bytes take 0.12 ms on a processor with SHA instructions."""

_OF_THE_IMAGE = (
    ImageTooLargeError,
    InferenceFailedError,
    MissingImageError,
    TooManyPixelsError,
    UndecodableImageError,
    UnsupportedFormatError,
)
"""What the same image would meet again. Any other error is of the one request that met it: its deadline, its place in
the queue, its client."""


@dataclass(frozen=True, slots=True)
class Found:
    """A result, and how it was come by."""

    result: CachedResult
    lookup: Lookup

    @property
    def is_cached(self) -> bool:
        """Whether it was had without a computation for this request."""
        return self.lookup is not Lookup.MISS


def name_scope(
    model_version: str, *, library: str, device_kind: str, precision: str, min_oversampling: int | None
) -> str:
    """Name everything beside an image's bytes that its scores depend on; equal names, equal scores.

    Args:
        model_version: The digest of weights and input recipe.
        library: What runs the model, with its version.
        device_kind: What that runs on, `cpu` or `cuda`.
        precision: The engine's arithmetic.
        min_oversampling: That of `images.prepare.prepare`.
    """
    # This release's too: the next one may read images differently, and a store may outlive the process.
    return f"{__version__}:{model_version}:{library}:{device_kind}:{precision}:{min_oversampling or 0}"


class ResultCache:
    """Results by image and scope, with one computation for identical requests in flight. Used on one event loop."""

    def __init__(self, store: ResultStore, *, observer: CacheObserver, bypass: Bypass | None = None) -> None:
        """Keep results in `store`, which is closed together with the cache; `bypass` is one of its own by default."""
        self._store = store
        self._observer = observer
        self._bypass = bypass or Bypass()
        self._flights: dict[tuple[str, Priority], Flight] = {}
        self._counts = dict.fromkeys(Lookup, 0)
        # One thread: a digest is bound by memory and processor alone, and must not queue behind images that decode.
        self._digest_thread = ThreadPoolExecutor(1, thread_name_prefix="lightbox-digest")

    async def digest(self, encoded: bytes) -> str | None:
        """Return the SHA-256 of an image's bytes in hex, or None where it is to be computed past the cache."""
        if self._bypass.takes_past():
            self._count(Lookup.BYPASSED)
            return None
        if len(encoded) <= _MAX_BYTES_ON_LOOP:
            return hashlib.sha256(encoded).hexdigest()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._digest_thread, lambda: hashlib.sha256(encoded).hexdigest())

    async def fetch(
        self,
        digest: str,
        *,
        scope: str,
        priority: Priority,
        compute: Callable[[], Awaitable[CachedResult]],
    ) -> Found:
        """Return what is kept for an image, or what an identical request in flight gets; else compute and keep it.

        Where the request that computes is given up (its client hung up, its deadline passed, it was refused), one of
        those that wait computes in its place. An interactive request waits for no bulk one, but computes by itself.
        Cancelling the call touches no other request.

        Args:
            digest: What `digest` returned.
            scope: What `name_scope` returned.
            priority: The request's own.
            compute: Makes the result; called at most once, and cancelled with this call.

        Raises:
            LightboxError: What `compute` raises, or what it raised for an identical request if that was the image's
                own: undecodable, too large, of no known format, or one that the model fails on. It is not kept.
        """
        key = f"{scope}:{digest}"
        while ahead := self._find_flight(key, priority):
            landing = await ahead.follow()
            if landing is not None:
                return self._share(landing)
        flight = self._flights[key, priority] = Flight()
        landing = None
        try:
            found = await self._look_up_or_compute(key, compute)
            landing = found.result
        except _OF_THE_IMAGE as error:
            landing = error
            raise
        finally:
            del self._flights[key, priority]
            flight.land(landing)
        return found

    def describe(self) -> Mapping[str, float]:
        """Return requests by what became of them, the hit rate of the last lookups, and what the store says."""
        counts = {lookup.value: float(count) for lookup, count in self._counts.items()}
        return {**counts, "recent_hit_rate": self._bypass.hit_rate, **self._store.describe()}

    async def close(self) -> None:
        """Release the store, or leave it as it is if that takes long: nothing in it is lost by that."""
        self._digest_thread.shutdown(wait=False)
        try:
            async with asyncio.timeout(CACHE_CLOSE_S):
                await self._store.close()
        except TimeoutError:
            logger.warning(
                "The cache's store took longer than %g s to close; it is left to the process's end.", CACHE_CLOSE_S
            )

    def _find_flight(self, key: str, priority: Priority) -> Flight | None:
        """Return a flight that a request of this priority loses nothing by following: bulk work may wait long."""
        interactive = self._flights.get((key, Priority.INTERACTIVE))
        if interactive is not None or priority is Priority.INTERACTIVE:
            return interactive
        return self._flights.get((key, Priority.BULK))

    async def _look_up_or_compute(self, key: str, compute: Callable[[], Awaitable[CachedResult]]) -> Found:
        kept = await self._store.get(key)
        if kept is not None:
            self._count(Lookup.HIT)
            return Found(kept, Lookup.HIT)
        self._count(Lookup.MISS)
        result = await compute()
        self._store.put(key, result)
        return Found(result, Lookup.MISS)

    def _share(self, landing: CachedResult | LightboxError) -> Found:
        self._count(Lookup.SHARED)
        if isinstance(landing, LightboxError):
            # An exception belongs to the one task that raises it, which writes its traceback into it.
            raise copy(landing)
        return Found(landing, Lookup.SHARED)

    def _count(self, lookup: Lookup) -> None:
        self._counts[lookup] += 1
        if lookup is not Lookup.BYPASSED:
            self._bypass.record(is_hit=lookup is not Lookup.MISS)
        self._observer.observe_lookup(lookup)
