"""Builds the cache that the settings name."""

from bento_service.cache.base import CacheObserver, ResultStore
from bento_service.cache.memory import MemoryStore
from bento_service.cache.result_cache import ResultCache
from bento_service.cache.tiered import TieredStore
from bento_service.settings import Settings


def open_cache(settings: Settings, *, observer: CacheObserver) -> ResultCache | None:
    """Build the cache, or None where it is switched off. No connection is opened yet.

    With a Redis, what this worker used last is in its own memory too.

    Raises:
        CacheUrlError: The URL is none that redis-py reads.
    """
    if settings.cache_bytes == 0:
        return None
    store: ResultStore = MemoryStore(settings.cache_bytes, on_change=observer.observe_cache_size)
    if settings.cache_url:
        # redis-py takes 7 MB, which most workers have no use for.
        from bento_service.cache.redis_store import RedisStore  # noqa: PLC0415

        far = RedisStore(settings.cache_url.get_secret_value(), on_failure=observer.observe_cache_failure)
        store = TieredStore(store, far)
    return ResultCache(store, observer=observer)
