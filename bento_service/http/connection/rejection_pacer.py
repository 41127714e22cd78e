"""Paces rejections for overload, so that clients that retry at once leave the CPU to the answers of others."""

import asyncio
import time
from collections.abc import Callable
from heapq import heappop, heappush

from starlette.types import Scope

STOP_READING_EXTENSION = "lightbox.stop_reading"
"""The ASGI extension of a server that can stop reading: its member `stop_reading`, called without arguments, drops what
came of the request's body and reads no more of the connection until the answer is complete."""
CPU_SHARE = 0.08
"""Share of the CPUs that rejections may take; faster ones are delayed."""
REJECTION_CPU_S = 350e-6
"""CPU time of one rejection beside running models, with a body of 49 kB: an estimate, see
docs/adr/0019-paced-rejections.md."""
MAX_RATE_PER_S = 1_500.0
"""One event loop answers all of a worker's requests: so many rejections leave it half of its time."""
BURST_S = 0.1
"""Rejections are sent at once until they are this far ahead of the rate."""
MAX_DELAY_S = 2.0
MAX_DELAYED = 1_024
"""Rejections delayed at a time; further ones are sent at once."""


class RejectionPacer:
    """Delays rejections once they come faster than the CPUs can afford.

    The answer is delayed, not the connection's next request: a proxy sends the requests of other clients over other
    connections meanwhile, so only the rejected client waits. No rejection is delayed by more than its own
    `Retry-After`, nor by more than `MAX_DELAY_S`. Virtual scheduling (ITU-T I.371, GCRA). Used on one event loop.
    """

    def __init__(self, *, cpus: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the number of CPUs of this worker; `clock` gives seconds, monotonic."""
        self._interval_s = 1 / min(MAX_RATE_PER_S, CPU_SHARE * cpus / REJECTION_CPU_S)
        self._clock = clock
        self._next_s = clock()
        self._delayed_until_s: list[float] = []

    def reserve(self, retry_after_s: float) -> float:
        """Take the next rejection's turn, and return its delay in seconds; 0 for at once.

        Args:
            retry_after_s: What the rejection tells its client to wait.
        """
        now_s = self._clock()
        turn_s = max(self._next_s, now_s)
        delay_s = max(0.0, turn_s - now_s - BURST_S)
        longest_s = min(retry_after_s, MAX_DELAY_S)
        if delay_s > longest_s:
            delay_s = longest_s
        else:
            self._next_s = turn_s + self._interval_s
        while self._delayed_until_s and self._delayed_until_s[0] <= now_s:
            heappop(self._delayed_until_s)
        if delay_s == 0 or len(self._delayed_until_s) >= MAX_DELAYED:
            return 0.0
        heappush(self._delayed_until_s, now_s + delay_s)
        return delay_s

    async def pace(self, scope: Scope, retry_after_s: float) -> None:
        """Return when the rejection of a request may be sent; nothing more of the request is read meanwhile."""
        delay_s = self.reserve(retry_after_s)
        if delay_s > 0:
            extension = (scope.get("extensions") or {}).get(STOP_READING_EXTENSION)
            if extension is not None:
                extension["stop_reading"]()
            await asyncio.sleep(delay_s)
