import pytest

from bento_service.cache.memory import MemoryStore
from bento_service.cache.tiered import TieredStore
from tests.fakes.cache import make_result

pytestmark = pytest.mark.anyio


async def test_what_is_put_is_in_both() -> None:
    near, far = MemoryStore(100_000), MemoryStore(100_000)
    TieredStore(near, far).put("a", make_result())
    assert await near.get("a") is not None
    assert await far.get("a") is not None


async def test_what_was_found_far_is_near_from_then_on() -> None:
    near, far = MemoryStore(100_000), MemoryStore(100_000)
    store = TieredStore(near, far)
    far.put("a", make_result())
    found = await store.get("a")
    await far.close()
    assert await store.get("a") is found


async def test_what_is_nowhere_is_not_found() -> None:
    assert await TieredStore(MemoryStore(100_000), MemoryStore(100_000)).get("a") is None
