"""The loads of a comparison: closed and open loops on a server that runs, and a step from idle."""

import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import requests
from numpy.typing import NDArray

from bench.bodies import Bodies
from bench.closed_loop import ClosedLoad, run_closed_loop
from bench.environments import PeerUnavailableError
from bench.records import SMALL, Loop, Run, Step
from bench.running import Running
from bento_service.load_test.generator import LoadOptions, run_closed, run_open

MAX_CONNECTIONS = 4096
"""Of an open loop, more than it sends at once in an overload: the wait for a connection would hide the server's."""
_PATIENCE = 5
"""An answer that takes this many times the target is given up, and counts as failed."""
_SETTLED_MS = 300.0
_SETTLE_S = 10.0
_POLL_S = 0.1
_STEP_SETTLED_S = 1.0


@dataclass(frozen=True, slots=True)
class Bench:
    """A server under test. `target_ms` is the latency within which an answer counts as good."""

    running: Running
    bodies: Bodies
    target_ms: float
    round: int = 0
    workers: int = 1
    photographs: str = SMALL

    @property
    def url(self) -> str:
        """Where images are posted."""
        return self.running.url + self.running.server.wire.path

    @property
    def options(self) -> LoadOptions:
        """What each request of an open loop shares."""
        headers = dict(self.running.server.wire.headers)
        return LoadOptions(
            content_type=headers.pop("Content-Type"),
            headers=headers,
            timeout_s=_PATIENCE * self.target_ms / 1000,
            max_connections=MAX_CONNECTIONS,
        )

    def closed(self, connections: int, duration_s: float) -> Run:
        """Keep so many connections busy.

        Raises:
            PeerUnavailableError: It answered nothing.
        """
        load = self._load(connections, duration_s)
        if load.images_per_s == 0:
            raise PeerUnavailableError(f"answered nothing over {connections} connections in {duration_s:g} s")
        return self._describe("closed", connections, **asdict(load))

    def warm(self, connections: int, duration_s: float) -> None:
        """Load it without looking at what becomes of that."""
        self._load(connections, duration_s)

    def find_capacity(self, connections: int, duration_s: float) -> float:
        """Return the images a second of a closed loop of the client that sends the open loops.

        It takes more of the CPUs than wrk, which would leave the server more than an open loop does.

        Raises:
            PeerUnavailableError: It answered nothing.
        """
        result = run_closed(self.url, self.bodies.encoded, connections, duration_s, options=self.options)
        if result.throughput_per_s == 0:
            raise PeerUnavailableError(f"answered nothing over {connections} connections in {duration_s:g} s")
        return result.throughput_per_s

    def open(self, share: float, capacity_per_s: float, duration_s: float) -> Run:
        """Offer a share of what the server can do as a Poisson process."""
        result = run_open(
            self.url, self.bodies.encoded, share * capacity_per_s, duration_s, seed=self.round, options=self.options
        )
        return self._describe(
            "open",
            share,
            images_per_s=result.throughput_per_s,
            p50_ms=percentile(result.answered_ms, 0.5),
            p99_ms=percentile(result.answered_ms, 0.99),
            failed=result.failed,
            goodput_per_s=result.goodput_per_s(self.target_ms),
            offered_per_s=result.offered_per_s,
            requests=result.requests,
            refused=result.refused,
            refused_p99_ms=percentile(result.refused_ms, 0.99),
            not_ready=int(np.count_nonzero(result.statuses == requests.codes.unavailable)),
            capacity_per_s=capacity_per_s,
            is_client_bound=result.is_client_bound,
        )

    def step(self, offered_per_s: float, duration_s: float) -> Step:
        """Go from idle to a rate at once."""
        result = run_open(
            self.url, self.bodies.encoded, offered_per_s, duration_s, seed=self.round, options=self.options
        )
        is_late = result.due_s >= _STEP_SETTLED_S
        is_answered = result.statuses == requests.codes.ok
        return Step(
            offered_per_s=offered_per_s,
            requests=result.requests,
            refused=result.refused,
            failed=result.failed,
            first_p99_ms=percentile(result.latencies_ms[is_answered & ~is_late], 0.99),
            late_p99_ms=percentile(result.latencies_ms[is_answered & is_late], 0.99),
        )

    def settle(self) -> None:
        """Wait until the server is done with what an overload left behind."""
        give_up_s = time.monotonic() + _SETTLE_S
        while time.monotonic() < give_up_s:
            begun_s = time.monotonic()
            if self.ask(0, timeout_s=_SETTLE_S) is not None and (time.monotonic() - begun_s) * 1000 < _SETTLED_MS:
                return
            time.sleep(_POLL_S)  # another's server says nothing of its queue

    def ask(self, number: int, *, query: str = "", timeout_s: float = 60.0) -> bytes | None:
        """Return the body of the answer to one photograph, or None where it is no 200."""
        headers = dict(self.running.server.wire.headers)
        try:
            response = requests.post(
                self.url + query, data=self.bodies.encoded[number], headers=headers, timeout=timeout_s
            )
        except requests.RequestException:
            return None
        return response.content if response.ok else None

    def _describe(self, loop: Loop, level: float, **figures: Any) -> Run:  # noqa: ANN401 - a Run's
        return Run(
            server=self.running.server.key,
            workers=self.workers,
            photographs=self.photographs,
            loop=loop,
            level=level,
            round=self.round,
            memory_bytes=self.running.memory_bytes,
            master_bytes=self.running.master_bytes,
            **figures,
        )

    def _load(self, connections: int, duration_s: float) -> ClosedLoad:
        headers = self.running.server.wire.headers
        return run_closed_loop(self.url, self.bodies.folder, headers, connections=connections, duration_s=duration_s)


def percentile(values: NDArray[np.float64], share: float) -> float | None:
    """Return the value that a share of them keeps; None if there are none."""
    if not len(values):
        return None
    value = float(np.quantile(values, share, method="higher"))
    return value if math.isfinite(value) else None
