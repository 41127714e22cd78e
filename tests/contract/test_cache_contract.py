"""The contract of `ResultStore`: in memory, in a real Redis, and both together."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest

from bento_service.cache.base import ResultStore
from bento_service.cache.memory import MemoryStore
from bento_service.cache.redis_store import RedisStore, TieredStore
from tests.contract.redis_server import RedisServer, find_program
from tests.fakes.cache import CountingObserver, make_result

pytestmark = pytest.mark.anyio

PATIENT_S = 30.0
"""A time-out that a Redis on a busy machine keeps."""


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    program = find_program()
    if program is None:
        pytest.skip("no redis-server; `apt-get install redis-server` brings it")
    server = RedisServer(program, tmp_path)
    yield server
    server.stop()


def connect(server: RedisServer) -> RedisStore:
    on_failure = CountingObserver().observe_cache_failure
    return RedisStore(server.url, on_failure=on_failure, read_timeout_s=PATIENT_S, write_timeout_s=PATIENT_S)


@pytest.fixture(params=["memory", "redis", "both"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[ResultStore]:
    store: ResultStore
    if request.param == "memory":
        store = MemoryStore(1_000_000)
    else:
        redis = connect(request.getfixturevalue("redis_server"))
        store = redis if request.param == "redis" else TieredStore(MemoryStore(1_000_000), redis)
    yield store
    await store.close()


async def flush(store: ResultStore) -> None:
    """Return once what was put has been written."""
    while store.describe().get("redis_unwritten", 0):
        await store.get("a key that is not there")


async def test_a_result_comes_back_bit_for_bit(store: ResultStore) -> None:
    result = make_result(classes=1_000, warnings=("exif_orientation_applied", "converted_from_cmyk"))
    store.put("a", result)
    await flush(store)
    found = await store.get("a")
    assert found is not None
    assert np.array_equal(found.scores, result.scores)
    assert found.scores.dtype == np.float32
    assert not found.scores.flags.writeable
    assert (found.image, found.warnings) == (result.image, result.warnings)


async def test_each_key_has_its_own_result(store: ResultStore) -> None:
    results = {f"key {number}": make_result(number) for number in range(150)}
    for key, result in results.items():
        store.put(key, result)
    await flush(store)
    for key, result in results.items():
        found = await store.get(key)
        assert found is not None
        assert found.image == result.image
    assert await store.get("another key") is None


async def test_closing_writes_what_waits_for_other_workers_to_read(redis_server: RedisServer) -> None:
    one, other = connect(redis_server), connect(redis_server)
    one.put("a", make_result())
    await one.close()
    assert one.describe()["redis_unwritten"] == 0
    assert await other.get("a") is not None
    await other.close()
