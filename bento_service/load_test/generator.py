"""Sends a load and returns what became of it: an open loop by a schedule, or a closed loop with so many connections.

It shares the machine with what it measures more often than not, so it is one thread, without a task a request. Run it
where nothing else runs, for what holds the interpreter makes it late; the event loop's timer makes it up to 1 ms late.
Latency counts from the moment at which a request was due, also where the client could not send it then; so a server
that stalls is not let off the requests that would have come meanwhile (coordinated omission: Tene, How NOT to Measure
Latency, 2015).
"""

import asyncio
import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import uvloop

from bento_service.errors import InvalidParameterError
from bento_service.load_test.address import resolve
from bento_service.load_test.arrivals import draw_arrivals
from bento_service.load_test.loops import MAX_REQUESTS, ClosedLoop, Loop, OpenLoop
from bento_service.load_test.payloads import DEFAULT_OPTIONS, LoadOptions
from bento_service.load_test.result import LoadResult, summarise

MAX_DURATION_S = 3600.0


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
    return _run(
        OpenLoop(
            address=resolve(url),
            bodies=bodies,
            options=options,
            duration_s=duration_s,
            arrivals_s=arrivals_s,
            rate_per_s=rate_per_s,
        )
    )


def run_closed(
    url: str, bodies: Sequence[bytes], connections: int, duration_s: float, *, options: LoadOptions = DEFAULT_OPTIONS
) -> LoadResult:
    """Keep so many connections busy, each sending its next request as its last one is answered.

    Blocks and raises as `run_open` does. A closed loop slows down with the server: it finds capacity, and says little
    about latency under a given load.
    """
    _check(bodies, duration_s, connections)
    return _run(
        ClosedLoop(address=resolve(url), bodies=bodies, options=options, duration_s=duration_s, connections=connections)
    )


def _run(load: Loop) -> LoadResult:
    with _without_collector(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        cpu_s = time.thread_time()
        runner.run(load.run())
        cpu_s = time.thread_time() - cpu_s
    return summarise(
        load.exchanges,
        begun_s=load.begun_s,
        offered_per_s=load.offered_per_s,
        duration_s=load.duration_s,
        connections=load.pool.peak_connections,
        exhausted=load.pool.exhausted,
        client_cpu_s=cpu_s,
    )


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
    """Keep the cyclic collector from walking all requests kept so far in the midst of the load; none is in a cycle."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
