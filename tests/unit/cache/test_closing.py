"""Closing a cache whose store hangs."""

import asyncio
from collections.abc import Mapping

import pytest

from bento_service.cache.base import CachedResult
from bento_service.cache.result_cache import ResultCache
from tests.fakes.cache import CountingObserver
from tests.fakes.clock import FakeTimeLoop
from tests.fakes.pipeline import fake_clock

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": FakeTimeLoop}


class StuckStore:
    """A store whose connection never closes."""

    async def get(self, key: str) -> CachedResult | None:
        return None

    def put(self, key: str, result: CachedResult) -> None:
        pass

    def describe(self) -> Mapping[str, float]:
        return {}

    async def close(self) -> None:
        await asyncio.get_running_loop().create_future()


async def test_closing_gives_up_on_a_store_that_hangs(caplog: pytest.LogCaptureFixture) -> None:
    cache = ResultCache(StuckStore(), observer=CountingObserver())

    closing = asyncio.create_task(cache.close())
    await asyncio.sleep(0)
    fake_clock().advance_ms(10_000)
    await closing

    assert "took longer than" in caplog.text
