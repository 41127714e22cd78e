"""Sends a load to a server: an open loop by a schedule, or a closed loop with a fixed number of connections.

Load generator and server usually share a machine, so it is one thread without a task for each request. Other work in
the same process makes it late; the event loop's timer makes it up to 1 ms late. Latency counts from the moment at which
a request was due, even where the client could not send it then, so that a stalled server is charged for the requests
that would have come meanwhile (coordinated omission: Tene, How NOT to Measure Latency, 2015).
"""

import asyncio
import gc
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import numpy as np
import uvloop
from numpy.typing import NDArray

from bento_service.errors import InvalidParameterError
from bento_service.load_test.address import Address, resolve
from bento_service.load_test.connections import ConnectionPool
from bento_service.load_test.exchange import BROKEN, Exchange
from bento_service.load_test.payloads import DEFAULT_OPTIONS, LoadOptions, prepare_payloads
from bento_service.load_test.result import LoadResult, summarise

MAX_DURATION_S = 3600.0
MAX_REQUESTS = 2_000_000
"""In one run: each is kept until the end, at about 300 bytes."""
_SWEEP_S = 0.1
_PAUSE_AFTER_BREAK_S = 0.1
"""A closed loop waits that long before it tries a server again that takes no connection."""


def run_open(
    url: str,
    bodies: Sequence[bytes],
    rate_per_s: float,
    duration_s: float,
    *,
    seed: int = 0,
    options: LoadOptions = DEFAULT_OPTIONS,
) -> LoadResult:
    """POST `bodies` in turn to `url` (with path and query) as a Poisson process of this rate, and wait for the answers.

    Blocks for `duration_s`, and at most `options.timeout_s` more. Equal arguments make equal schedules.

    Raises:
        InvalidParameterError: No body, or a rate or a duration that is none or too large.
        InvalidAddressError: `url` is no http or https URL.
        ServiceUnreachableError: Nothing takes connections there.
        KeyboardInterrupt: Ctrl-C; nothing of this run is kept.
    """
    _check(bodies, duration_s, rate_per_s * duration_s)
    arrivals_s = draw_arrivals(rate_per_s, duration_s, seed).tolist()
    load = _OpenLoop(resolve(url), bodies, options, duration_s, options.max_connections, arrivals_s)
    return load.measure(offered_per_s=rate_per_s)


def run_closed(
    url: str, bodies: Sequence[bytes], connections: int, duration_s: float, *, options: LoadOptions = DEFAULT_OPTIONS
) -> LoadResult:
    """Keep this many connections busy, each sending its next request when the last one is answered.

    Blocks and raises as `run_open` does. A closed loop slows down with the server: it finds capacity, and says little
    about latency under a given load.
    """
    _check(bodies, duration_s, connections)
    return _ClosedLoop(resolve(url), bodies, options, duration_s, connections).measure(offered_per_s=None)


def draw_arrivals(rate_per_s: float, duration_s: float, seed: int) -> NDArray[np.float64]:
    """Draw the arrivals of a Poisson process over `[0, duration_s)`, as seconds, ascending.

    The process is conditioned on its count, `round(rate_per_s * duration_s)`, so that the offered rate is exact.
    Exponential gaps divided by their sum are such a draw (Devroye, Non-Uniform Random Variate Generation, 1986, V.2).

    Raises:
        ValueError: There would be no arrival.
    """
    count = round(rate_per_s * duration_s)
    if count < 1:
        raise ValueError(f"{rate_per_s:g} requests/s for {duration_s:g} s is less than one request; ask for more")
    gaps = np.random.default_rng(seed).exponential(size=count + 1)
    arrivals: NDArray[np.float64] = np.cumsum(gaps)[:-1] * (duration_s / gaps.sum())
    return arrivals


@dataclass
class _Loop:
    """Sends requests, counts answers and ends; the two kinds differ in when they send."""

    address: Address
    bodies: Sequence[bytes]
    options: LoadOptions
    duration_s: float
    max_connections: int
    exchanges: list[Exchange] = field(default_factory=list, init=False)
    begun_s: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._payloads = prepare_payloads(self.address, self.bodies, self.options)
        self._pool = ConnectionPool(
            self.address,
            self._take,
            max_connections=self.max_connections,
            reads_answers=self.options.reads_answers,
        )
        self._outstanding = 0
        self._is_over = False
        self._all_done = asyncio.Event()

    def measure(self, offered_per_s: float | None) -> LoadResult:
        """Run to the end and summarise."""
        with _without_collector(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            cpu_s = time.thread_time()
            runner.run(self._run())
            cpu_s = time.thread_time() - cpu_s
        return summarise(
            self.exchanges,
            begun_s=self.begun_s,
            offered_per_s=offered_per_s,
            duration_s=self.duration_s,
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
        """Send the next request."""
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
                self._pool.expire(time.perf_counter() - self.options.timeout_s)
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


@dataclass
class _OpenLoop(_Loop):
    """Sends each request when it is due, whether or not earlier ones are answered."""

    arrivals_s: Sequence[float]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._next = 0

    def start(self) -> None:
        """Send what is due and schedule the next call."""
        elapsed_s = time.perf_counter() - self.begun_s
        while self._next < len(self.arrivals_s) and self.arrivals_s[self._next] <= elapsed_s:
            self.send(self.begun_s + self.arrivals_s[self._next])
            self._next += 1
        if self._next == len(self.arrivals_s):
            self.end()
            return
        # uvloop rounds timers to milliseconds: less than one would be now, and spin until the moment.
        wait_s = math.ceil((self.arrivals_s[self._next] - elapsed_s) * 1000) / 1000
        asyncio.get_running_loop().call_later(wait_s, self.start)


@dataclass
class _ClosedLoop(_Loop):
    """Keeps every connection busy until the time is over."""

    def start(self) -> None:
        """Send one request on each connection."""
        asyncio.get_running_loop().call_later(self.duration_s, self.end)
        for _ in range(self.max_connections):
            self._send_now()

    def follow(self, exchange: Exchange) -> None:
        """Send the next request, after a pause where the connection broke."""
        if exchange.status == BROKEN:
            asyncio.get_running_loop().call_later(_PAUSE_AFTER_BREAK_S, self._send_now)
        else:
            self._send_now()

    def _send_now(self) -> None:
        now_s = time.perf_counter()
        if now_s - self.begun_s < self.duration_s and len(self.exchanges) < MAX_REQUESTS:
            self.send(now_s)


def _check(bodies: Sequence[bytes], duration_s: float, requests: float) -> None:
    if not bodies:
        raise InvalidParameterError("there is no body to send; give at least one")
    if not 0 < duration_s <= MAX_DURATION_S:
        raise InvalidParameterError(f"a run of {duration_s:g} s cannot be; it takes up to {MAX_DURATION_S:g} s")
    if not 1 <= round(requests) <= MAX_REQUESTS:
        raise InvalidParameterError(
            f"a run of {requests:g} requests cannot be; it takes 1 to {MAX_REQUESTS}: change the rate or the duration"
        )


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
