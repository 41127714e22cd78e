"""Sends a load to a server: an open loop by a schedule, or a closed loop with a fixed number of connections.

Latency counts from when a request was due, even where the client could not send it then: a stalled server is charged
for the requests that come meanwhile (coordinated omission: Tene, How NOT to Measure Latency, 2015).
"""

import asyncio
import gc
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count, cycle

import numpy as np
import uvloop

from bento_service.errors import InvalidParameterError
from bento_service.load_test.address import Address, resolve
from bento_service.load_test.connections import ConnectionPool
from bento_service.load_test.result import BROKEN, Exchange, Floats, LoadResult

MAX_REQUESTS = 2_000_000
"""In one run: each is kept until the end, at about 300 bytes."""
_SWEEP_S = 0.1
_PAUSE_AFTER_BREAK_S = 0.1
"""A closed loop waits that long before it tries a server again that takes no connection."""
_RUN_BYTES = 8
_SERIAL_BYTES = 4


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What every request of a load shares.

    `timeout_s` counts from when a request is due. `reads_answers` reads the timings in Lightbox's answers.
    `makes_unique` ends each body with a serial number, so that no cache knows it: decoders stop at the end of the
    image and never see it. `max_connections` bounds an open loop.
    """

    content_type: str = "application/octet-stream"
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 30.0
    max_connections: int = 512
    reads_answers: bool = False
    makes_unique: bool = False


_DEFAULT_OPTIONS = LoadOptions()


def run_open(
    url: str,
    bodies: Sequence[bytes],
    rate_per_s: float,
    duration_s: float,
    *,
    seed: int = 0,
    options: LoadOptions = _DEFAULT_OPTIONS,
) -> LoadResult:
    """POST `bodies` in turn to `url` (with path and query) as a Poisson process of this rate, and wait for the answers.

    Blocks for `duration_s`, and at most `options.timeout_s` more. Equal arguments make equal schedules.

    Raises:
        InvalidParameterError: Rate and duration make no request, or more than MAX_REQUESTS.
        InvalidAddressError: `url` is no http or https URL.
        ServiceUnreachableError: Nothing takes connections there.
        KeyboardInterrupt: Ctrl-C; nothing of this run is kept.
    """
    if not 1 <= round(rate_per_s * duration_s) <= MAX_REQUESTS:
        raise InvalidParameterError(
            f"{rate_per_s:g} requests/s for {duration_s:g} s cannot be sent; 1 to {MAX_REQUESTS} requests can: change "
            "the rate or the duration"
        )
    arrivals_s = draw_arrivals(rate_per_s, duration_s, seed).tolist()
    load = _OpenLoop(resolve(url), bodies, options, duration_s, options.max_connections)
    load.arrivals_s = arrivals_s
    return load.measure(offered_per_s=rate_per_s)


def run_closed(
    url: str, bodies: Sequence[bytes], connections: int, duration_s: float, *, options: LoadOptions = _DEFAULT_OPTIONS
) -> LoadResult:
    """Keep this many connections busy, each sending its next request when the last one is answered.

    Blocks as `run_open` does, and raises the same for `url`. A closed loop slows down with the server: it finds
    capacity, and says little about latency under a given load.
    """
    return _ClosedLoop(resolve(url), bodies, options, duration_s, connections).measure(offered_per_s=None)


def draw_arrivals(rate_per_s: float, duration_s: float, seed: int) -> Floats:
    """Draw the arrivals of a Poisson process over `[0, duration_s)`, as seconds, ascending.

    The process is conditioned on its count, `round(rate_per_s * duration_s)`, so that the offered rate is exact.
    Exponential gaps divided by their sum are such a draw (Devroye, Non-Uniform Random Variate Generation, 1986, V.2).
    """
    gaps = np.random.default_rng(seed).exponential(size=round(rate_per_s * duration_s) + 1)
    arrivals: Floats = np.cumsum(gaps)[:-1] * (duration_s / gaps.sum())
    return arrivals


def prepare_payloads(address: Address, bodies: Sequence[bytes], options: LoadOptions) -> Iterator[tuple[bytes, ...]]:
    """Yield the requests in turn, without end, as the pieces that are written; no body is copied."""
    requests = [(_head(address, len(body), options), body) for body in bodies]
    return _number(requests) if options.makes_unique else cycle(requests)


def _number(requests: Sequence[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, ...]]:
    # Random, so that no run finds another one's answers in the cache.
    run = np.random.default_rng().bytes(_RUN_BYTES)
    for (head, body), serial in zip(cycle(requests), count(), strict=False):
        yield head, body, run, serial.to_bytes(_SERIAL_BYTES, "big")


def _head(address: Address, body_bytes: int, options: LoadOptions) -> bytes:
    length = body_bytes + (_RUN_BYTES + _SERIAL_BYTES if options.makes_unique else 0)
    fields = {
        "Host": address.authority,
        "User-Agent": "lightbox-bench",
        "Accept": "*/*",
        "Content-Type": options.content_type,
        "Content-Length": str(length),
        **options.headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {address.target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")


class _Loop:
    """Sends requests, counts answers and ends; the two kinds differ in when they send. One thread, one task."""

    def __init__(
        self,
        address: Address,
        bodies: Sequence[bytes],
        options: LoadOptions,
        duration_s: float,
        max_connections: int,
    ) -> None:
        self.duration_s = duration_s
        self.max_connections = max_connections
        self.begun_s = 0.0
        self.exchanges: list[Exchange] = []
        self._timeout_s = options.timeout_s
        self._payloads = prepare_payloads(address, bodies, options)
        self._pool = ConnectionPool(
            address, self._take, max_connections=max_connections, reads_answers=options.reads_answers
        )
        self._outstanding = 0
        self._is_over = False
        self._all_done = asyncio.Event()

    def measure(self, offered_per_s: float | None) -> LoadResult:
        with _without_collector(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            cpu_s = time.thread_time()
            runner.run(self._run())
            cpu_s = time.thread_time() - cpu_s

        def column(name: str) -> Floats:
            return np.array([getattr(exchange, name) for exchange in self.exchanges], dtype=np.float64)

        return LoadResult(
            offered_per_s=offered_per_s,
            duration_s=self.duration_s,
            due_s=column("due_s") - self.begun_s,
            sent_s=column("sent_s") - self.begun_s,
            done_s=column("done_s") - self.begun_s,
            statuses=column("status").astype(np.int16),
            facts=tuple(exchange.facts for exchange in self.exchanges),
            connections=self._pool.peak_connections,
            exhausted=self._pool.exhausted,
            client_cpu_s=cpu_s,
        )

    def start(self) -> None:
        """Send the first requests."""
        raise NotImplementedError

    def follow(self, exchange: Exchange) -> None:
        """Send the request that follows an answer, if there is one."""

    def send(self, due_s: float) -> None:
        exchange = Exchange(next(self._payloads), due_s)
        self.exchanges.append(exchange)
        self._outstanding += 1
        self._pool.submit(exchange)

    def end(self) -> None:
        """Send no more; the loop ends with the last answer."""
        self._is_over = True
        self._note_end()

    async def _run(self) -> None:
        self.begun_s = time.perf_counter()
        self.start()
        try:
            while not self._all_done.is_set():
                # One sweep for all: a timer for each request would cost more than sending it.
                self._pool.expire(time.perf_counter() - self._timeout_s)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._all_done.wait(), _SWEEP_S)
        finally:
            await self._pool.close()

    def _take(self, exchange: Exchange) -> None:
        self._outstanding -= 1
        self.follow(exchange)
        self._note_end()

    def _note_end(self) -> None:
        if self._is_over and not self._outstanding:
            self._all_done.set()


class _OpenLoop(_Loop):
    """Sends each request when it is due, whether or not earlier ones are answered."""

    arrivals_s: Sequence[float] = ()

    def start(self) -> None:
        """Send what is due and schedule the next call."""
        elapsed_s = time.perf_counter() - self.begun_s
        while (sent := len(self.exchanges)) < len(self.arrivals_s) and self.arrivals_s[sent] <= elapsed_s:
            self.send(self.begun_s + self.arrivals_s[sent])
        if sent == len(self.arrivals_s):
            self.end()
            return
        # uvloop rounds timers to milliseconds: less than one would be now, and spin until the moment.
        wait_s = math.ceil((self.arrivals_s[sent] - elapsed_s) * 1000) / 1000
        asyncio.get_running_loop().call_later(wait_s, self.start)


class _ClosedLoop(_Loop):
    """Keeps every connection busy until the time is over."""

    def start(self) -> None:
        asyncio.get_running_loop().call_later(self.duration_s, self.end)
        for _ in range(self.max_connections):
            self._send_now()

    def follow(self, exchange: Exchange) -> None:
        if exchange.status == BROKEN:
            asyncio.get_running_loop().call_later(_PAUSE_AFTER_BREAK_S, self._send_now)
        else:
            self._send_now()

    def _send_now(self) -> None:
        now_s = time.perf_counter()
        if now_s - self.begun_s < self.duration_s and len(self.exchanges) < MAX_REQUESTS:
            self.send(now_s)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Disable the cyclic collector, which would walk all requests kept so far; none of them is in a cycle."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
