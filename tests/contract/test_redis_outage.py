"""A Redis that is down, hangs, is full or returns garbage causes misses, a count and one log line."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from bento_service.cache.redis_store import RedisStore
from tests.contract.redis_server import PASSWORD, RedisServer
from tests.contract.test_cache_contract import PATIENT_S, flush, redis_server
from tests.fakes.cache import CountingObserver, make_result
from tests.fakes.clock import FakeClock
from tests.integration.running_service import free_port

__all__ = ["redis_server"]  # a fixture

pytestmark = pytest.mark.anyio

LOGGER = "bento_service.cache.redis_store"


async def wait_until(is_so: Callable[[], bool]) -> None:
    """Return once `is_so()`, which is polled after each turn of the event loop."""
    async with asyncio.timeout(2 * PATIENT_S):
        while not is_so():  # noqa: ASYNC110 - a store tells nobody
            await asyncio.sleep(0)


class Client:
    """A store with its counts and the clock of its pauses."""

    def __init__(self, url: str, *, read_timeout_s: float = PATIENT_S, trial_timeout_s: float = PATIENT_S) -> None:
        self.counts = CountingObserver()
        self.clock = FakeClock()
        self.store = RedisStore(
            url,
            on_failure=self.counts.observe_cache_failure,
            read_timeout_s=read_timeout_s,
            write_timeout_s=PATIENT_S,
            trial_timeout_s=trial_timeout_s,
            clock=self.clock,
        )

    async def fail(self, times: int = 10) -> None:
        for _ in range(times):
            assert await self.store.get("a") is None

    async def recover(self) -> None:
        """Advance past the pause, start a trial, and return once it has succeeded."""
        self.clock.advance(1)
        await self.fail(1)
        await wait_until(lambda: self.is_reachable)

    async def wait_for_failure(self, *, beyond: int) -> None:
        """Return once more reads have failed than so many."""
        await wait_until(lambda: self.counts.failures["read"] > beyond)

    @property
    def is_reachable(self) -> bool:
        return self.store.describe()["redis_reachable"] == 1


@asynccontextmanager
async def connecting(url: str, **timeouts: float) -> AsyncIterator[Client]:
    client = Client(url, **timeouts)
    yield client
    await client.store.close()


@asynccontextmanager
async def answering(delay_s: float | None) -> AsyncIterator[str]:
    """A server that answers everything with PONG after `delay_s`, or never if None; yields its URL."""
    done = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while delay_s is not None and await reader.read(1000):
            # The delay under test.
            await asyncio.sleep(delay_s)
            writer.write(b"+PONG\r\n")
        if delay_s is None:
            await done.wait()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    done.set()
    server.close()
    await server.wait_closed()


async def configure(server: RedisServer, setting: str, value: str) -> None:
    async with Redis.from_url(server.url) as client:
        await client.config_set(setting, value)


async def test_a_redis_that_is_down_is_asked_five_times(caplog: pytest.LogCaptureFixture) -> None:
    async with connecting(f"redis://:{PASSWORD}@127.0.0.1:{free_port()}/0") as client:
        await client.fail(20)
        client.store.put("a", make_result())
        assert client.counts.failures == {"read": 5}
        assert not client.is_reachable
    (record,) = caplog.records
    assert "does not serve the cache" in record.message
    assert PASSWORD not in caplog.text


async def test_a_wrong_password_is_a_miss_and_not_logged(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with connecting(redis_server.url.replace(PASSWORD, "hush-hush")) as client:
        await client.fail()
        assert not client.is_reachable
    assert "AuthenticationError" in caplog.text
    assert "hush-hush" not in caplog.text


async def test_a_hanging_redis_costs_a_request_one_timeout_at_most() -> None:
    async with answering(None) as url, connecting(url, read_timeout_s=0.01) as client:
        await client.fail(100)
        assert client.counts.failures == {"read": 5}


async def test_reads_that_time_out_together_are_one_failure() -> None:
    async with answering(None) as url, connecting(url, read_timeout_s=0.01) as client:
        for _ in range(4):
            await asyncio.gather(*(client.store.get("a") for _ in range(16)))
            assert client.is_reachable
        await asyncio.gather(*(client.store.get("a") for _ in range(16)))
        assert not client.is_reachable
        assert client.counts.failures == {"read": 5 * 16}


async def test_a_trial_may_take_longer_than_a_request_waits() -> None:
    async with answering(0.1) as url, connecting(url, read_timeout_s=0.01) as client:
        await client.fail(5)
        assert not client.is_reachable
        await client.recover()
        assert client.counts.failures == {"read": 5}


async def test_pauses_grow_while_redis_answers_only_trials(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    async with answering(0.1) as url, connecting(url, read_timeout_s=0.01) as client:
        await client.fail(5)
        await client.recover()
        await client.fail(5)
        client.clock.advance(1.9)
        await client.fail()
        assert client.counts.failures == {"read": 10}
        await client.recover()
    assert ["does not serve the cache" in record.message for record in caplog.records] == [True]


async def test_a_pause_ends_with_one_trial_that_no_request_waits_for() -> None:
    async with answering(None) as url, connecting(url, read_timeout_s=0.01, trial_timeout_s=0.01) as client:
        await client.fail(5)
        for failures, pause_s in enumerate((1, 2, 4), 5):
            client.clock.advance(pause_s)
            await client.fail(100)
            # The trial's task has not started yet.
            assert client.counts.failures == {"read": failures}
            await client.wait_for_failure(beyond=failures)
        assert client.counts.failures == {"read": 8}


async def test_reads_beyond_the_connections_are_no_outage(redis_server: RedisServer) -> None:
    async with connecting(redis_server.url) as client:
        await asyncio.gather(*(client.store.get("a") for _ in range(100)))
        assert client.counts.failures == {"busy": 84}
        assert client.is_reachable


async def test_redis_is_used_again_once_it_is_back(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    async with connecting(redis_server.url) as client:
        redis_server.stop()
        await client.fail()
        redis_server.start()
        await client.fail(1)
        assert not client.is_reachable
        await client.recover()
        client.store.put("a", make_result())
        await flush(client.store)
        assert await client.store.get("a") is not None
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_a_full_redis_is_read_and_no_longer_written(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    async with connecting(redis_server.url) as client:
        client.store.put("a", make_result())
        await flush(client.store)
        await configure(redis_server, "maxmemory", "1")
        for number in range(20):
            client.store.put(str(number), make_result())
            await flush(client.store)
        assert client.counts.failures == {"refused_write": 5}
        assert await client.store.get("a") is not None
        await configure(redis_server, "maxmemory", "0")
        client.clock.advance(1)
        client.store.put("b", make_result())
        await flush(client.store)
        assert await client.store.get("b") is not None
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_many_cancelled_reads_leave_every_connection_usable(redis_server: RedisServer) -> None:
    async with connecting(redis_server.url) as client:
        for patience in range(300):
            burst = [asyncio.create_task(client.store.get("a")) for _ in range(16)]
            for _ in range(patience % 30):
                await asyncio.sleep(0)
            for task in burst[patience % 2 :: 2]:
                task.cancel()
            await asyncio.gather(*burst, return_exceptions=True)
        client.counts.failures.clear()
        await asyncio.gather(*(client.store.get("a") for _ in range(16)))
        assert client.counts.failures == {}


async def test_writes_beyond_the_queue_are_dropped_and_counted() -> None:
    async with answering(None) as url, connecting(url) as client:
        for number in range(600):
            client.store.put(str(number), make_result())
        assert client.counts.failures == {"write": 88}


async def test_a_result_stays_for_a_day_unless_damaged(redis_server: RedisServer) -> None:
    async with connecting(redis_server.url) as client, Redis.from_url(redis_server.url) as other:
        client.store.put("a", make_result())
        await flush(client.store)
        value = await other.get("a")
        assert isinstance(value, bytes)
        assert 86_000 < await other.ttl("a") <= 86_400
        for damaged in (value[:-1], b"", b"\xff" * 20):
            await other.set("a", damaged)
            assert await client.store.get("a") is None


async def test_a_cancelled_read_does_not_answer_the_next(redis_server: RedisServer) -> None:
    async with connecting(redis_server.url) as client:
        for number in range(10):
            client.store.put(str(number), make_result(number))
        await flush(client.store)
        for number in range(9):
            reading = asyncio.create_task(client.store.get(str(number)))
            await asyncio.sleep(0)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            found = await client.store.get(str(number + 1))
            assert found is not None
            assert found.image == make_result(number + 1).image
