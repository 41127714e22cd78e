from collections.abc import Mapping

import pytest

from bento_service.cache.memory import MemoryStore
from bento_service.cache.redis_store import TieredStore
from tests.fakes.cache import make_result

pytestmark = pytest.mark.anyio

SAMPLED, OTHER = "...0", "...1"


async def test_a_result_is_put_into_both_stores() -> None:
    local, shared = MemoryStore(100_000), MemoryStore(100_000)
    TieredStore(local, shared).put("a", make_result())
    assert await local.get("a") is not None
    assert await shared.get("a") is not None


async def test_a_result_of_the_shared_store_is_local_from_then_on() -> None:
    local, shared = MemoryStore(100_000), MemoryStore(100_000)
    store = TieredStore(local, shared)
    shared.put("a", make_result())
    found = await store.get("a")
    await shared.close()
    assert await store.get("a") is found


async def test_a_result_in_neither_store_is_not_found() -> None:
    assert await TieredStore(MemoryStore(100_000), MemoryStore(100_000)).get("a") is None


async def test_while_hardly_anything_is_found_the_shared_store_is_used_for_a_sample_only() -> None:
    local, shared = MemoryStore(100_000), MemoryStore(100_000)
    store = TieredStore(local, shared)
    for number in range(1_100):
        await store.get(str(number))

    for key in (SAMPLED, OTHER):
        store.put(key, make_result())
        await local.close()
    assert [await shared.get(SAMPLED) is not None, await shared.get(OTHER) is not None] == [True, False]

    shared.put(OTHER, make_result())
    assert await store.get(OTHER) is None


async def test_a_few_hits_of_the_sample_bring_the_shared_store_back_for_every_image() -> None:
    local, shared = MemoryStore(100_000), MemoryStore(100_000)
    store = TieredStore(local, shared)
    for number in range(1_100):
        await store.get(str(number))
    shared.put(OTHER, make_result())
    shared.put(SAMPLED, make_result())
    for _ in range(10):
        await store.get(SAMPLED)
        await local.close()
    assert await store.get(OTHER) is not None


async def test_look_ups_while_the_shared_store_is_down_do_not_make_it_look_useless() -> None:
    class DownStore(MemoryStore):
        is_down = True

        def describe(self) -> Mapping[str, float]:
            return {"redis_reachable": float(not self.is_down)}

    local, shared = MemoryStore(100_000), DownStore(100_000)
    store = TieredStore(local, shared)
    for number in range(1_100):
        await store.get(str(number))
    shared.is_down = False
    shared.put(OTHER, make_result())

    assert await store.get(OTHER) is not None
