from collections.abc import Mapping

import pytest

from bento_service.cache.memory import MemoryStore
from bento_service.cache.redis_store import TieredStore
from tests.fakes.cache import make_result

pytestmark = pytest.mark.anyio

SAMPLED, OTHER = "...0", "...1"
Stores = tuple[TieredStore, MemoryStore, MemoryStore]


@pytest.fixture
def stores() -> Stores:
    """Return the whole, the local one and the shared one."""
    local, shared = MemoryStore(100_000), MemoryStore(100_000)
    return TieredStore(local, shared), local, shared


async def test_a_result_is_put_into_both_and_found_in_either(stores: Stores) -> None:
    store, local, shared = stores
    assert await store.get("a") is None
    store.put("a", make_result())
    await local.close()
    found = await store.get("a")
    await shared.close()
    assert found is not None
    assert await store.get("a") is found


async def test_while_hardly_anything_is_found_the_shared_store_is_used_for_a_sample(stores: Stores) -> None:
    store, local, shared = stores
    for number in range(1_100):
        await store.get(str(number))
    for key in (SAMPLED, OTHER):
        store.put(key, make_result())
    await local.close()
    assert [await shared.get(key) is not None for key in (SAMPLED, OTHER)] == [True, False]

    shared.put(OTHER, make_result())
    assert await store.get(OTHER) is None
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
