"""Spaces out refusals for overload, so that clients which ask again at once leave the CPU to the answers of others."""

import asyncio
import time
from collections.abc import Callable
from heapq import heappop, heappush

from starlette.types import Scope

HOLD_EXTENSION = "lightbox.hold"
"""The ASGI extension of a server that can stop reading a request: its member `hold`, called without arguments, drops
what came of the body and reads no more of the connection until the answer is complete."""
CPU_SHARE = 0.08
"""Share of the CPUs that refusals may take; faster ones are held."""
REFUSAL_CPU_S = 350e-6
"""CPU time of one refusal beside running models, with a body of 49 kB: an estimate, see
docs/adr/0019-paced-refusals.md."""
MAX_RATE_PER_S = 1_500.0
"""One event loop answers all of a worker's requests: so many refusals leave it half of its time."""
BURST_S = 0.1
"""Refusals go at once until they are this far ahead of the rate."""
MAX_HOLD_S = 2.0
MAX_HELD = 1_024
"""Refusals held at a time; further ones go at once."""


class RefusalPacer:
    """Holds refusals back once they come faster than the CPUs can afford; few refusals go at once.

    The answer itself waits, not the connection's next request: a proxy sends the requests of other clients over other
    connections meanwhile, so nobody waits for a refusal but the client that gets it. A client that asks again as soon
    as it is refused can do so only at the pace of the refusals. No refusal is held for longer than its own
    `Retry-After`, nor longer than `MAX_HOLD_S`. Virtual scheduling (ITU-T I.371, GCRA). Used on one event loop.
    """

    def __init__(self, *, cpus: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the number of CPUs of this worker; `clock` gives seconds, monotonic."""
        self._interval_s = 1 / min(MAX_RATE_PER_S, CPU_SHARE * cpus / REFUSAL_CPU_S)
        self._clock = clock
        self._next_s = clock()
        self._held_until_s: list[float] = []

    def reserve(self, retry_after_s: float) -> float:
        """Take the next refusal's turn, and return how many seconds from now it is; 0 for at once.

        Args:
            retry_after_s: What the refusal tells its client to wait.
        """
        now_s = self._clock()
        turn_s = max(self._next_s, now_s)
        hold_s = max(0.0, turn_s - now_s - BURST_S)
        longest_s = min(retry_after_s, MAX_HOLD_S)
        if hold_s > longest_s:
            hold_s = longest_s
        else:
            self._next_s = turn_s + self._interval_s
        while self._held_until_s and self._held_until_s[0] <= now_s:
            heappop(self._held_until_s)
        if hold_s == 0 or len(self._held_until_s) >= MAX_HELD:
            return 0.0
        heappush(self._held_until_s, now_s + hold_s)
        return hold_s

    async def pace(self, scope: Scope, retry_after_s: float) -> None:
        """Return when the refusal of a request may be sent; nothing more of the request is read meanwhile."""
        hold_s = self.reserve(retry_after_s)
        if hold_s > 0:
            extension = (scope.get("extensions") or {}).get(HOLD_EXTENSION)
            if extension is not None:
                extension["hold"]()
            await asyncio.sleep(hold_s)
