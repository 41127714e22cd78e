import pytest

from bento_service.cache.factory import open_cache
from bento_service.errors import CacheUrlError
from bento_service.settings import Settings
from tests.fakes.cache import Tally

pytestmark = pytest.mark.anyio


def test_no_bytes_are_no_cache() -> None:
    assert open_cache(Settings(cache_bytes=0), observer=Tally()) is None


async def test_the_default_is_a_cache_in_memory() -> None:
    cache = open_cache(Settings(), observer=Tally())
    assert cache is not None
    assert "redis_reachable" not in cache.describe()
    await cache.close()


async def test_a_url_adds_a_redis_which_is_not_asked_before_the_first_image() -> None:
    cache = open_cache(Settings(cache_url="redis://127.0.0.1:1/0"), observer=Tally())
    assert cache is not None
    assert cache.describe()["redis_reachable"] == 1
    await cache.close()


@pytest.mark.parametrize(
    "url",
    [
        "memcached://:secret@host",
        "redis://:secret@host:port/0",
        "redis://:secret@host/0?colour=blue",
        ":secret@host",
        "redis://us/er:secret@host",
        "redis://:p@secret@host",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(CacheUrlError, match="LIGHTBOX_CACHE_URL takes") as caught:
        open_cache(Settings(cache_url=url), observer=Tally())
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__
