"""Results of images that were seen before, and one computation for identical requests in flight."""

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import copy

from bento_service import __version__
from bento_service.cache.base import CachedResult, CacheObserver, Lookup, ResultStore
from bento_service.cache.memory import MemoryStore
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
from bento_service.settings import CACHE_CLOSE_S, Settings

logger = logging.getLogger(__name__)

_MAX_BYTES_ON_LOOP = 262_144
"""A larger image is digested in a thread: so many bytes take 0.12 ms on a processor with SHA instructions."""
_RECENT_LOOKUPS = 512

_OF_THE_IMAGE = (
    ImageTooLargeError,
    InferenceFailedError,
    MissingImageError,
    TooManyPixelsError,
    UndecodableImageError,
    UnsupportedFormatError,
)
"""Errors that the same image would cause again. Any other belongs to one request: its deadline, its place in the queue,
its client."""

_Outcome = CachedResult | LightboxError | None
"""A result, an error that is the image's own, or None if the computing request was given up."""


def name_scope(
    model_version: str, *, library: str, device_kind: str, precision: str, min_oversampling: int | None
) -> str:
    """Return a key prefix that names everything besides an image's bytes that its scores depend on.

    `library` includes its version; `min_oversampling` is that of `images.preprocessing.preprocess`.
    """
    # This release too: the next one may read images differently, and a Redis outlives the process.
    return f"{__version__}:{model_version}:{library}:{device_kind}:{precision}:{min_oversampling or 0}"


class ResultCache:
    """Results by image and scope, with one computation for identical requests in flight. Used on one event loop."""

    def __init__(self, store: ResultStore, *, observer: CacheObserver) -> None:
        """Keep results in `store`, which is closed together with the cache."""
        self._store = store
        self._observer = observer
        self._in_flight: dict[tuple[str, Priority], asyncio.Future[_Outcome]] = {}
        self._counts = dict.fromkeys(Lookup, 0)
        self._recent: deque[bool] = deque(maxlen=_RECENT_LOOKUPS)
        # Its own thread: a digest must not queue behind images that decode.
        self._digest_thread = ThreadPoolExecutor(1, thread_name_prefix="lightbox-digest")

    async def digest(self, encoded: bytes) -> str:
        """Return the SHA-256 of an image's bytes in hex."""
        if len(encoded) <= _MAX_BYTES_ON_LOOP:
            return hashlib.sha256(encoded).hexdigest()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._digest_thread, lambda: hashlib.sha256(encoded).hexdigest())

    async def fetch(
        self, digest: str, *, scope: str, priority: Priority, compute: Callable[[], Awaitable[CachedResult]]
    ) -> CachedResult:
        """Return the kept result of an image, or that of an identical request in flight; else compute and keep it.

        If the computing request is given up (its client disconnected, its deadline passed, it was rejected), one of the
        waiting requests computes instead. An interactive request does not wait for a bulk one, but computes too.
        Cancelling the call affects no other request.

        Args:
            digest: From `digest`.
            scope: From `name_scope`.
            priority: The request's own.
            compute: Makes the result; called at most once, and cancelled with this call.

        Raises:
            LightboxError: From `compute`, or from that of an identical request if the error is the image's own:
                undecodable, too large, of unknown format, or one that the model fails on. Errors are not kept.
        """
        key = f"{scope}:{digest}"
        while (ahead := self._find_in_flight(key, priority)) is not None:
            # Shielded: a waiter that is cancelled affects neither the computation nor the other waiters.
            shared = await asyncio.shield(ahead)
            if shared is not None:
                return self._share(shared)
        in_flight = self._in_flight[key, priority] = asyncio.get_running_loop().create_future()
        outcome: _Outcome = None
        try:
            outcome = result = await self._look_up_or_compute(key, compute)
            return result
        except _OF_THE_IMAGE as error:
            outcome = error
            raise
        finally:
            del self._in_flight[key, priority]
            in_flight.set_result(outcome)

    def describe(self) -> Mapping[str, float]:
        """Return requests by `Lookup`, the hit rate of the last look-ups, and the store's figures."""
        counts = {lookup.value: float(count) for lookup, count in self._counts.items()}
        hit_rate = sum(self._recent) / len(self._recent) if self._recent else 0.0
        return {**counts, "recent_hit_rate": hit_rate, **self._store.describe()}

    async def close(self) -> None:
        """Close the store, or give up after `CACHE_CLOSE_S`: nothing in it is lost by that."""
        self._digest_thread.shutdown(wait=False)
        try:
            async with asyncio.timeout(CACHE_CLOSE_S):
                await self._store.close()
        except TimeoutError:
            logger.warning(
                "The cache's store took longer than %g s to close; it is left to the process's end.", CACHE_CLOSE_S
            )

    def _find_in_flight(self, key: str, priority: Priority) -> "asyncio.Future[_Outcome] | None":
        """Return a computation that a request of this priority may wait for: bulk work may take long."""
        interactive = self._in_flight.get((key, Priority.INTERACTIVE))
        if interactive is not None or priority is Priority.INTERACTIVE:
            return interactive
        return self._in_flight.get((key, Priority.BULK))

    async def _look_up_or_compute(self, key: str, compute: Callable[[], Awaitable[CachedResult]]) -> CachedResult:
        kept = await self._store.get(key)
        if kept is not None:
            self._count(Lookup.HIT)
            return kept
        self._count(Lookup.MISS)
        result = await compute()
        self._store.put(key, result)
        return result

    def _share(self, outcome: CachedResult | LightboxError) -> CachedResult:
        self._count(Lookup.SHARED)
        if isinstance(outcome, LightboxError):
            # A copy: each task that raises an exception writes its traceback into it.
            raise copy(outcome)
        return outcome

    def _count(self, lookup: Lookup) -> None:
        self._counts[lookup] += 1
        self._recent.append(lookup is not Lookup.MISS)
        self._observer.observe_lookup(lookup)


def open_cache(settings: Settings, *, observer: CacheObserver) -> ResultCache | None:
    """Build the cache of the settings, or None if it is switched off. No connection is opened yet.

    Raises:
        CacheUrlError: redis-py cannot read the URL.
    """
    if settings.cache_bytes == 0:
        return None
    store: ResultStore = MemoryStore(settings.cache_bytes, on_change=observer.observe_cache_size)
    if settings.cache_url:
        # redis-py takes 7 MB, which most workers do not need.
        from bento_service.cache.redis_store import RedisStore, TieredStore  # noqa: PLC0415

        redis = RedisStore(settings.cache_url.get_secret_value(), on_failure=observer.observe_cache_failure)
        store = TieredStore(store, redis)
    return ResultCache(store, observer=observer)
