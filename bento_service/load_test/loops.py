"""When requests are sent: by a schedule that does not wait for the server, or one as another is answered."""

import asyncio
import math
import time
from collections.abc import Sequence

from bento_service.load_test.address import Address
from bento_service.load_test.exchange import BROKEN, Exchange
from bento_service.load_test.payloads import LoadOptions, prepare_payloads
from bento_service.load_test.pool import ConnectionPool

MAX_REQUESTS = 2_000_000
"""Of one run: each is kept until the end, at about 300 bytes."""
SWEEP_S = 0.1
PAUSE_AFTER_BREAK_S = 0.1
"""A closed loop does not spin on a server that takes no connection."""


class Loop:
    """What both loops share: requests made ready, answers counted, and an end."""

    offered_per_s: float | None = None

    def __init__(
        self,
        *,
        address: Address,
        bodies: Sequence[bytes],
        options: LoadOptions,
        duration_s: float,
        max_connections: int,
    ) -> None:
        self.exchanges: list[Exchange] = []
        self.duration_s = duration_s
        self.begun_s = 0.0
        self.pool = ConnectionPool(
            address,
            self.take,
            max_connections=max_connections,
            reads_answers=options.reads_answers,
            clock=time.perf_counter,
        )
        self._timeout_s = options.timeout_s
        self._payloads = prepare_payloads(address, bodies, options)
        self._outstanding = 0
        self._is_over = False
        self._all_done = asyncio.Event()

    async def run(self) -> None:
        """Send everything and wait until all of it is answered or given up."""
        self.begun_s = time.perf_counter()
        self.start()
        try:
            while not self._all_done.is_set():
                # Looked at now and then for all: a timer for each request would cost more than the request's own part.
                self.pool.expire(time.perf_counter() - self._timeout_s)
                await self._wait_a_little()
        finally:
            await self.pool.close()

    def start(self) -> None:
        """Send the first requests; the event loop runs."""
        raise NotImplementedError

    def follow(self, exchange: Exchange) -> None:
        """Send what follows an answer, if anything does."""

    def take(self, exchange: Exchange) -> None:
        """Count an answer."""
        self._outstanding -= 1
        self.follow(exchange)
        self._note_end()

    def send(self, due_s: float) -> None:
        """Send the next request."""
        exchange = Exchange(next(self._payloads), due_s)
        self.exchanges.append(exchange)
        self._outstanding += 1
        self.pool.submit(exchange)

    def end(self) -> None:
        """Nothing more will be sent."""
        self._is_over = True
        self._note_end()

    def _note_end(self) -> None:
        if self._is_over and not self._outstanding:
            self._all_done.set()

    async def _wait_a_little(self) -> None:
        try:
            await asyncio.wait_for(self._all_done.wait(), SWEEP_S)
        except TimeoutError:
            return


class OpenLoop(Loop):
    """Sends each request when it is due, whatever became of those before."""

    def __init__(
        self,
        *,
        address: Address,
        bodies: Sequence[bytes],
        options: LoadOptions,
        duration_s: float,
        arrivals_s: Sequence[float],
        rate_per_s: float,
    ) -> None:
        super().__init__(
            address=address,
            bodies=bodies,
            options=options,
            duration_s=duration_s,
            max_connections=options.max_connections,
        )
        self.offered_per_s = rate_per_s
        self._arrivals_s = arrivals_s
        self._next = 0

    def start(self) -> None:
        """Send what is due, and come back for the next."""
        elapsed_s = time.perf_counter() - self.begun_s
        while self._next < len(self._arrivals_s) and self._arrivals_s[self._next] <= elapsed_s:
            self.send(self.begun_s + self._arrivals_s[self._next])
            self._next += 1
        if self._next == len(self._arrivals_s):
            self.end()
            return
        # uvloop's timers count in milliseconds and round: less than one would be now, and spin until the moment.
        wait_s = math.ceil((self._arrivals_s[self._next] - elapsed_s) * 1000) / 1000
        asyncio.get_running_loop().call_later(wait_s, self.start)


class ClosedLoop(Loop):
    """Keeps every connection busy until the time is over."""

    def __init__(
        self, *, address: Address, bodies: Sequence[bytes], options: LoadOptions, duration_s: float, connections: int
    ) -> None:
        super().__init__(
            address=address, bodies=bodies, options=options, duration_s=duration_s, max_connections=connections
        )
        self._connections = connections

    def start(self) -> None:
        """Send one request a connection."""
        asyncio.get_running_loop().call_later(self.duration_s, self.end)
        for _ in range(self._connections):
            self._send_now()

    def follow(self, exchange: Exchange) -> None:
        """Send the next, unless the time or the room for results is over."""
        if exchange.status == BROKEN:
            asyncio.get_running_loop().call_later(PAUSE_AFTER_BREAK_S, self._send_now)
        else:
            self._send_now()

    def _send_now(self) -> None:
        now_s = time.perf_counter()
        if now_s - self.begun_s < self.duration_s and len(self.exchanges) < MAX_REQUESTS:
            self.send(now_s)
