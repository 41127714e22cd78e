"""Results in a Redis that workers and replicas share."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from urllib.parse import unquote, urlsplit

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import MaxConnectionsError, RedisError, ResponseError

from bento_service.cache.base import CachedResult
from bento_service.cache.breaker import CircuitBreaker
from bento_service.cache.codec import decode, encode
from bento_service.domain.credentials import ENCODING_ADVICE, has_clear_host
from bento_service.errors import CacheUrlError

_log = logging.getLogger(__name__)

READ_TIMEOUT_S = 0.025
"""Longest that a request waits for Redis, connecting included: about what a computation takes."""
_WRITE_TIMEOUT_S = 0.25
"""Nobody waits for a write."""
_TRIAL_TIMEOUT_S = 1.0
"""Nobody waits for a trial either; it is to find out whether Redis is there, on a machine that is busy too."""
_TTL_S = 86_400
_MAX_CONNECTIONS = 16
_MAX_DATABASE = 2**31 - 1
"""Redis reads the number as an int (selectCommand, db.c); it has 16 databases unless it is set up with more."""
_MAX_WAITING_WRITES = 512
_WRITES_A_TRIP = 64
_CLOSE_TIMEOUT_S = 1.0
_MAX_FAILURES = 5
_MIN_PAUSE_S = 1.0
_MAX_PAUSE_S = 30.0


class RedisStore:
    """A `ResultStore` behind a network. What is wrong there is a miss, a count in the metrics and a line in the log.

    After a few failures in a row Redis is left alone but for a trial now and then, which no request waits for: it may
    take longer than one would. One that is full, or that refuses writes for another reason, is still read.
    """

    def __init__(
        self,
        url: str,
        *,
        on_failure: Callable[[str], None],
        ttl_s: int = _TTL_S,
        read_timeout_s: float = READ_TIMEOUT_S,
        write_timeout_s: float = _WRITE_TIMEOUT_S,
        trial_timeout_s: float = _TRIAL_TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open no connection yet.

        Args:
            url: `redis://`, `rediss://` or `unix://`, as redis-py reads them.
            on_failure: Told of each operation that failed: `read`, `write`, `busy` (no connection was free) or
                `refused_write`.
            ttl_s: How long a result is kept.
            read_timeout_s: Longest that `get` takes.
            write_timeout_s: Longest that one trip with what `put` took may take.
            trial_timeout_s: Longest that Redis may take to answer again after it did not, connecting included.
            clock: Seconds, monotonic.

        Raises:
            CacheUrlError: The URL is none of these.
        """
        self._client = Redis(connection_pool=_make_pool(url))
        self._on_failure = on_failure
        self._ttl_s = ttl_s
        self._read_timeout_s = read_timeout_s
        self._write_timeout_s = write_timeout_s
        self._trial_timeout_s = trial_timeout_s
        self._reachable = _make_breaker(clock)
        self._writable = _make_breaker(clock)
        self._is_lost = False
        self._waiting: deque[tuple[str, CachedResult]] = deque()
        self._writing = 0
        self._writer: asyncio.Task[None] | None = None
        self._trial: asyncio.Task[None] | None = None

    async def get(self, key: str) -> CachedResult | None:
        """Return the result under a key, or None, after `read_timeout_s` at the latest."""
        if self._reachable.is_open:
            self._begin_trial()
            return None
        begun = self._reachable.begin()
        try:
            async with asyncio.timeout(self._read_timeout_s):
                value = await self._client.get(key)
        except MaxConnectionsError:
            self._on_failure("busy")
            return None
        except (RedisError, OSError) as error:
            self._note_failure("read", error, begun)
            return None
        self._note_read()
        return decode(value) if isinstance(value, bytes) else None

    def put(self, key: str, result: CachedResult) -> None:
        """Keep a result soon; it is lost where too many wait already or Redis is not to be had."""
        if self._reachable.is_open or not self._writable.lets_through():
            return
        if len(self._waiting) >= _MAX_WAITING_WRITES:
            self._on_failure("write")
            return
        self._waiting.append((key, result))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.get_running_loop().create_task(self._write_waiting())

    def describe(self) -> Mapping[str, float]:
        """Return whether Redis answers (`redis_reachable`, 1 or 0) and how many results it has yet to be sent."""
        return {
            "redis_reachable": float(not self._reachable.is_open),
            "redis_unwritten": len(self._waiting) + self._writing,
        }

    async def close(self) -> None:
        """Write what waits, for a second at most, and close the connections."""
        if self._trial is not None:
            self._trial.cancel()
            await asyncio.wait([self._trial])
        if self._writer is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    await self._writer
        await self._client.aclose()

    def _begin_trial(self) -> None:
        """See whether Redis answers again, if the pause is over and the last trial too."""
        if (self._trial is None or self._trial.done()) and self._reachable.lets_through():
            self._trial = asyncio.get_running_loop().create_task(self._try_again())

    async def _try_again(self) -> None:
        begun = self._reachable.begin()
        try:
            async with asyncio.timeout(self._trial_timeout_s):
                await self._client.ping()
        except MaxConnectionsError:
            self._on_failure("busy")
        except (RedisError, OSError) as error:
            self._note_failure("read", error, begun)
        else:
            self._reachable.succeed()

    async def _write_waiting(self) -> None:
        while self._waiting:
            self._writing = min(_WRITES_A_TRIP, len(self._waiting))
            await self._write([self._waiting.popleft() for _ in range(self._writing)])
            self._writing = 0
            if self._reachable.is_open:
                self._waiting.clear()

    async def _write(self, results: list[tuple[str, CachedResult]]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for key, result in results:
            pipeline.set(key, encode(result), ex=self._ttl_s)
        begun, writable = self._reachable.begin(), self._writable.begin()
        try:
            async with asyncio.timeout(self._write_timeout_s):
                replies = await pipeline.execute(raise_on_error=False)
        except MaxConnectionsError:
            self._on_failure("busy")
            return
        except (RedisError, OSError) as error:
            self._note_failure("write", error, begun)
            return
        refusals = [reply for reply in replies if isinstance(reply, ResponseError)]
        for refusal in refusals:
            self._on_failure("refused_write")
            if self._writable.fail(writable):
                _log.warning("Redis at %s takes no more answers into the cache: %s", self._address(), refusal)
        if not refusals and self._writable.succeed():
            _log.info("Redis at %s takes answers into the cache again.", self._address())

    def _note_failure(self, operation: str, error: Exception, begun: int) -> None:
        self._on_failure(operation)
        if self._reachable.fail(begun) and not self._is_lost:
            self._is_lost = True
            _log.warning(
                "Redis at %s does not serve the cache (%s: %s). Images are classified without it until it does.",
                self._address(),
                type(error).__name__,
                error or "timed out",
            )

    def _note_read(self) -> None:
        """Count a read in time, which alone shows that Redis serves: trials and writes have longer."""
        self._reachable.succeed()
        if self._is_lost:
            self._is_lost = False
            _log.info("Redis at %s serves the cache again.", self._address())

    def _address(self) -> str:
        """Say where it is, without the credentials that the URL may hold."""
        arguments = self._client.connection_pool.connection_kwargs
        return str(arguments.get("path") or f"{arguments.get('host', 'localhost')}:{arguments.get('port', 6379)}")


def _make_pool(url: str) -> ConnectionPool:
    try:
        if not has_clear_host(url):
            raise ValueError
        pool = ConnectionPool.from_url(
            url,
            max_connections=_MAX_CONNECTIONS,
            retry=Retry(NoBackoff(), 0),
            # Fewer round trips before the first command: no HELLO, no CLIENT SETINFO.
            protocol=2,
            driver_info=None,
        )
        # Whatever the URL's own parameters say: values are no text, and the time-outs are ours. redis-py's go through
        # `asyncio.wait_for`, which in Python 3.11 may lose the cancellation of a request.
        pool.connection_kwargs.update(decode_responses=False, socket_timeout=None)
        pool.connection_class(**pool.connection_kwargs)  # which says whether redis-py knows the URL's parameters
    except (ValueError, TypeError):
        raise CacheUrlError(
            "The cache's URL cannot be read. LIGHTBOX_CACHE_URL takes `redis://[user:password@]host:port/number`, "
            f"`rediss://…` for TLS, or `unix://path`. {ENCODING_ADVICE}"
        ) from None
    _check_database(url, pool.connection_kwargs.get("db"))
    return pool


def _check_database(url: str, chosen: object) -> None:
    """Refuse a database that no Redis has. redis-py takes any number, and 0 for a path that is none."""
    parts = urlsplit(url)
    named = "" if parts.scheme == "unix" else unquote(parts.path).strip("/")
    for database in (named, "" if chosen is None else str(chosen)):
        if database and not (database.isascii() and database.isdigit() and int(database) <= _MAX_DATABASE):
            # Not shown: in a URL whose password has a "/" of its own, it is a part of that.
            raise CacheUrlError(
                "The cache's URL names no database that Redis can have. LIGHTBOX_CACHE_URL ends in its number, such as "
                "`redis://host:6379/0`; a `/`, `@`, `?` or `#` in the password is written as %2F, %40, %3F or %23."
            )


def check_url(url: str) -> None:
    """Refuse a URL that no connection could be made with; none is made.

    Raises:
        CacheUrlError: It is none that redis-py reads.
    """
    _make_pool(url)


def _make_breaker(clock: Callable[[], float]) -> CircuitBreaker:
    return CircuitBreaker(max_failures=_MAX_FAILURES, min_pause_s=_MIN_PAUSE_S, max_pause_s=_MAX_PAUSE_S, clock=clock)
