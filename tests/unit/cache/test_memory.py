import tracemalloc

import numpy as np
import pytest

from bento_service.cache.base import CachedResult
from bento_service.cache.memory import MemoryStore, estimate_bytes
from bento_service.domain.requests import ImageInfo
from tests.fakes.cache import make_result

pytestmark = pytest.mark.anyio


async def test_the_least_recently_used_result_is_evicted_first() -> None:
    store = MemoryStore(2 * estimate_bytes(make_result()))
    store.put("a", make_result(1))
    store.put("b", make_result(2))
    await store.get("a")
    store.put("c", make_result(3))
    assert [await store.get(key) is not None for key in "abc"] == [True, False, True]


async def test_a_result_larger_than_the_whole_cache_is_not_kept() -> None:
    store = MemoryStore(1_000)
    store.put("a", make_result(classes=1_000))
    assert await store.get("a") is None
    assert store.describe() == {"entries": 0, "bytes": 0}


async def test_entries_and_bytes_are_reported_until_the_store_is_closed() -> None:
    sizes: list[tuple[int, int]] = []
    store = MemoryStore(1_000_000, on_change=lambda entries, size_bytes: sizes.append((entries, size_bytes)))
    result = make_result()
    store.put("a", result)
    store.put("b", result)
    assert sizes == [(1, estimate_bytes(result)), (2, 2 * estimate_bytes(result))]
    await store.close()
    assert await store.get("a") is None


@pytest.mark.parametrize("classes", [10, 1_000])
def test_the_estimate_is_no_less_than_what_python_allocates_and_not_much_more(classes: int) -> None:
    entries = 2_000
    store = MemoryStore(100_000_000)
    tracemalloc.start()
    try:
        for number in range(entries):
            key = f"0.3.0:0123456789ab:onnxruntime:f32:0:{number:064x}"
            store.put(key, make_result(number, classes=classes, warnings=(f"a warning of {number}",)))
        allocated, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    estimated = store.describe()["bytes"]
    assert allocated <= estimated <= allocated + 500 * entries


def test_a_result_is_a_copy_of_its_own_that_nobody_can_write_to() -> None:
    batch = np.zeros((4, 3), dtype=np.float32)
    result = CachedResult.of(batch[1], ImageInfo("PNG", 1, 1), ())
    batch[:] = 1
    assert result.scores.tolist() == [0, 0, 0]
    assert result.scores.base is None
    with pytest.raises(ValueError, match="read-only"):
        result.scores[0] = 1
