"""Results in a Redis that workers and replicas share."""

import asyncio
import logging
import struct
import time
from collections import deque
from collections.abc import Callable, Mapping

import numpy as np
from redis.asyncio import Redis
from redis.exceptions import MaxConnectionsError, RedisError, ResponseError

from bento_service.cache.base import CachedResult, ResultStore
from bento_service.cache.redis_url import open_pool
from bento_service.domain.requests import ImageInfo
from lightbox_client.breaker import CircuitBreaker

_log = logging.getLogger(__name__)

READ_TIMEOUT_S = 0.025
"""Longest that a request waits for Redis, connecting included: about what a computation takes."""
_WRITE_TIMEOUT_S = 0.25
_TRIAL_TIMEOUT_S = 1.0
"""No request waits for a trial; on a busy machine a new connection may take longer than `READ_TIMEOUT_S`."""
_TTL_S = 86_400
_MAX_WAITING_WRITES = 512
_WRITES_A_TRIP = 64
_CLOSE_TIMEOUT_S = 1.0
_MAX_FAILURES = 5
_MIN_PAUSE_S = 1.0
_MAX_PAUSE_S = 30.0

_MIN_HIT_RATE = 0.02
"""A look-up in Redis takes about 0.1 ms of CPU and one round trip; a hit saves milliseconds (ADR 25)."""
_HIT_RATE_WEIGHT = 1 / 256

FORMAT = 1
"""The first byte of every value. Raise it when the rest changes; values of another format are not found."""
_HEADER = struct.Struct("<BIIIH")
"""Format, width and height in pixels, number of classes, bytes of text. Then the text, and the scores as float32."""
_SEPARATOR = "\n"
"""Between the words of the text: the image's format and the warnings, neither of which contains it."""


class RedisStore:
    """A `ResultStore` behind a network. A failure is a miss, a count in the metrics and a line in the log.

    After a few failures in a row Redis is not asked again until a trial succeeds, which no request waits for. A Redis
    that refuses writes, such as a full one, is still read.
    """

    def __init__(
        self,
        url: str,
        *,
        on_failure: Callable[[str], None],
        read_timeout_s: float = READ_TIMEOUT_S,
        write_timeout_s: float = _WRITE_TIMEOUT_S,
        trial_timeout_s: float = _TRIAL_TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open no connection yet.

        Args:
            url: `redis://`, `rediss://` or `unix://`, as redis-py reads them.
            on_failure: Called with each operation that failed: `read`, `write`, `busy` (no connection was free) or
                `refused_write`.
            read_timeout_s: Longest that `get` takes, connecting included.
            write_timeout_s: Longest that one pipeline of writes takes.
            trial_timeout_s: Longest that a trial takes, connecting included.
            clock: Seconds, monotonic.

        Raises:
            CacheUrlError: The URL is none of these.
        """
        self._client = Redis(connection_pool=open_pool(url))
        self._on_failure = on_failure
        self._read_timeout_s = read_timeout_s
        self._write_timeout_s = write_timeout_s
        self._trial_timeout_s = trial_timeout_s
        self._reachable, self._writable = (
            CircuitBreaker(max_failures=_MAX_FAILURES, min_pause_s=_MIN_PAUSE_S, max_pause_s=_MAX_PAUSE_S, clock=clock)
            for _ in range(2)
        )
        self._is_outage_logged = False
        self._waiting: deque[tuple[str, CachedResult]] = deque()
        self._writing = 0
        self._writer: asyncio.Task[None] | None = None
        self._trial: asyncio.Task[None] | None = None

    async def get(self, key: str) -> CachedResult | None:
        """Return the result under a key, or None, after `read_timeout_s` at the latest."""
        if self._reachable.is_open:
            self._start_trial()
            return None
        started = self._reachable.start()
        try:
            async with asyncio.timeout(self._read_timeout_s):
                value = await self._client.get(key)
        except MaxConnectionsError:
            self._on_failure("busy")
            return None
        except (RedisError, OSError) as error:
            self._note_failure("read", error, started)
            return None
        self._reachable.succeed()
        # Only a read in time ends an outage: trials and writes have longer.
        if self._is_outage_logged:
            self._is_outage_logged = False
            _log.info("Redis at %s serves the cache again.", self._address())
        return decode(value) if isinstance(value, bytes) else None

    def put(self, key: str, result: CachedResult) -> None:
        """Write a result soon; drop it if too many wait or Redis does not take writes."""
        if self._reachable.is_open or not self._writable.allows():
            return
        if len(self._waiting) >= _MAX_WAITING_WRITES:
            self._on_failure("write")
            return
        self._waiting.append((key, result))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.get_running_loop().create_task(self._write_waiting())

    def describe(self) -> Mapping[str, float]:
        """Return whether Redis answers (`redis_reachable`, 1 or 0) and how many results are still to be written."""
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
            # Not awaited itself: the connections are closed also if it failed.
            await asyncio.wait([self._writer], timeout=_CLOSE_TIMEOUT_S)
            self._writer.cancel()
        await self._client.aclose()

    def _start_trial(self) -> None:
        if (self._trial is None or self._trial.done()) and self._reachable.allows():
            self._trial = asyncio.get_running_loop().create_task(self._try_again())

    async def _try_again(self) -> None:
        started = self._reachable.start()
        try:
            async with asyncio.timeout(self._trial_timeout_s):
                await self._client.ping()
        except (RedisError, OSError) as error:
            self._note_failure("read", error, started)
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
            pipeline.set(key, encode(result), ex=_TTL_S)
        started, started_writing = self._reachable.start(), self._writable.start()
        try:
            async with asyncio.timeout(self._write_timeout_s):
                replies = await pipeline.execute(raise_on_error=False)
        except MaxConnectionsError:
            self._on_failure("busy")
            return
        except (RedisError, OSError) as error:
            self._note_failure("write", error, started)
            return
        refusals = [reply for reply in replies if isinstance(reply, ResponseError)]
        for refusal in refusals:
            self._on_failure("refused_write")
            if self._writable.fail(started_writing):
                _log.warning("Redis at %s takes no more answers into the cache: %s", self._address(), refusal)
        if not refusals and self._writable.succeed():
            _log.info("Redis at %s takes answers into the cache again.", self._address())

    def _note_failure(self, operation: str, error: Exception, started: int) -> None:
        self._on_failure(operation)
        if self._reachable.fail(started) and not self._is_outage_logged:
            self._is_outage_logged = True
            _log.warning(
                "Redis at %s does not serve the cache (%s: %s). Images are classified without it until it does.",
                self._address(),
                type(error).__name__,
                error or "timed out",
            )

    def _address(self) -> str:
        """Return host and port, or the socket's path, without the URL's credentials."""
        arguments = self._client.connection_pool.connection_kwargs
        return str(arguments.get("path") or f"{arguments.get('host', 'localhost')}:{arguments.get('port', 6379)}")


class TieredStore:
    """A `ResultStore` that asks a local store first, and copies into it what it finds in a shared one.

    While hardly any look-up in the shared store hits, it is used for a sixteenth of the images only, chosen by the last
    digit of their digest, so that an image of these that repeats is noticed at once.
    """

    def __init__(self, local: ResultStore, shared: ResultStore) -> None:
        self._local = local
        self._shared = shared
        self._hit_rate = 1.0

    async def get(self, key: str) -> CachedResult | None:
        """Return the result under a key, or None."""
        result = await self._local.get(key)
        if result is None and self._uses_shared(key):
            # A Redis that is down is not asked, which says nothing of how often images repeat.
            is_asked = bool(self._shared.describe().get("redis_reachable", 1.0))
            result = await self._shared.get(key)
            if is_asked:
                self._hit_rate += _HIT_RATE_WEIGHT * ((result is not None) - self._hit_rate)
            if result is not None:
                self._local.put(key, result)
        return result

    def put(self, key: str, result: CachedResult) -> None:
        """Keep a result in both."""
        self._local.put(key, result)
        if self._uses_shared(key):
            self._shared.put(key, result)

    def describe(self) -> Mapping[str, float]:
        """Return the figures of both."""
        return {**self._shared.describe(), **self._local.describe()}

    async def close(self) -> None:
        """Close both."""
        await asyncio.gather(self._local.close(), self._shared.close())

    def _uses_shared(self, key: str) -> bool:
        return self._hit_rate >= _MIN_HIT_RATE or key.endswith("0")


def encode(result: CachedResult) -> bytes:
    """Write a result as bytes."""
    text = _SEPARATOR.join((result.image.format, *result.warnings)).encode()
    header = _HEADER.pack(FORMAT, result.image.width_px, result.image.height_px, len(result.scores), len(text))
    return header + text + result.scores.astype("<f4", copy=False).tobytes()


def decode(value: bytes) -> CachedResult | None:
    """Read what `encode` wrote; None if it has another format or is damaged."""
    if len(value) < _HEADER.size:
        return None
    written_format, width_px, height_px, classes, text_bytes = _HEADER.unpack_from(value)
    scores_at = _HEADER.size + text_bytes
    if written_format != FORMAT or len(value) != scores_at + 4 * classes:
        return None
    try:
        image_format, *warnings = value[_HEADER.size : scores_at].decode().split(_SEPARATOR)
    except UnicodeDecodeError:
        return None
    scores = np.frombuffer(value, dtype="<f4", offset=scores_at).astype(np.float32)
    return CachedResult.of(scores, ImageInfo(image_format, width_px, height_px), tuple(warnings))
