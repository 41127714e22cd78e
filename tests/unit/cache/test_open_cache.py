import pytest

from bento_service.cache.redis_url import open_pool
from bento_service.cache.result_cache import open_cache
from bento_service.errors import CacheUrlError
from bento_service.settings import Settings
from tests.fakes.cache import CountingObserver

pytestmark = pytest.mark.anyio


async def test_settings_choose_no_cache_memory_or_redis() -> None:
    assert open_cache(Settings(cache_bytes=0), observer=CountingObserver()) is None
    for settings, has_redis in ((Settings(), False), (Settings(cache_url="redis://127.0.0.1:1/0"), True)):
        cache = open_cache(settings, observer=CountingObserver())
        assert cache is not None
        # Not asked before the first image, so it counts as reachable.
        assert cache.describe().get("redis_reachable") == (1 if has_redis else None)
        await cache.close()


@pytest.mark.parametrize(
    "url",
    [
        "memcached://:secret@host",
        "redis://:secret@host:port/0",
        "redis://:secret@host/0?colour=blue",
        ":secret@host",
        "redis://us/er:secret@host",
        "redis://user:6379/secret@host/0",
        "redis://:p@secret@host",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(CacheUrlError, match="LIGHTBOX_CACHE_URL takes") as caught:
        open_cache(Settings(cache_url=url), observer=CountingObserver())
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "url",
    [
        *(f"redis://:secret@host/{database}" for database in ("abc", "99999999999", "-1", "1.5", "1/2", "%31x", "٣")),
        *(f"{scheme}?db={database}" for scheme in ("rediss://host", "unix:///socket") for database in ("-1", 2**31)),
    ],
)
def test_a_database_that_no_redis_has_is_refused_without_what_may_be_a_password(url: str) -> None:
    with pytest.raises(CacheUrlError, match="names no database that Redis can have") as caught:
        open_pool(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "database"),
    [("redis://host", 0), ("redis://host/", 0), ("redis://host:1/2147483647", 2**31 - 1), ("rediss://host?db=3", 3)],
)
def test_a_url_names_its_database_or_the_first_one(url: str, database: int) -> None:
    assert open_pool(url).connection_kwargs.get("db", 0) == database


def test_a_socket_may_be_named_instead_of_a_host() -> None:
    assert open_pool("unix:///a/b").connection_kwargs["path"] == "/a/b"
