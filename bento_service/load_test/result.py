"""The requests of one run, and the figures that are read from them."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from lightbox_client.contract import TimingsMs, WireModel

OK = 200
REFUSALS = (429, 503)
TIMED_OUT = -1
"""A status: no answer in time, counted from when the request was due."""
BROKEN = -2
"""A status: no connection, or it broke before the answer was complete."""
STAGES = ("receive", "decode", "queue", "inference")
SETTLING_SHARE = 0.2
MAX_SETTLING_S = 1.0
MAX_SHORTFALL = 0.05
"""Share of the requests due that need not be done by the end of the run."""
CLIENT_BUSY = 0.8
"""Share of one CPU above which the client itself is the limit."""
LATE_MS = 5.0
LATE_SHARE = 0.1
"""The client is late where it sends later than both: so many ms, and this share of the latency at p99."""

Floats = NDArray[np.float64]


class AnswerFacts(NamedTuple):
    """The timings in a Lightbox answer, in milliseconds, and how it was computed."""

    receive_ms: float
    decode_ms: float
    queue_ms: float
    inference_ms: float
    batch_size: int
    is_cached: bool


class Exchange:
    """One request: when it was due, sent and answered, in seconds of one clock, and its status.

    `status` is an HTTP status, TIMED_OUT or BROKEN. Not a dataclass: one is made for each request, while the load runs.
    """

    __slots__ = ("done_s", "due_s", "facts", "payload", "sent_s", "status")

    def __init__(self, payload: tuple[bytes, ...], due_s: float) -> None:
        self.payload = payload
        self.due_s = due_s
        self.sent_s = math.nan
        self.done_s = math.nan
        self.status = 0
        self.facts: AnswerFacts | None = None


class _Answer(WireModel):
    """The part of a Lightbox answer that is read: parsing all of it would cost the client CPU time."""

    timings_ms: TimingsMs
    batch_size: int
    cached: bool


def read_facts(body: bytes) -> AnswerFacts | None:
    """Read the timings in a Lightbox answer; None where the body is another server's."""
    try:
        answer = _Answer.model_validate_json(body)
    except ValidationError:
        return None
    times = answer.timings_ms
    stages = times.receive, times.decode, times.queue, times.inference
    return AnswerFacts(*stages, answer.batch_size, answer.cached)


@dataclass(frozen=True)
class LoadResult:
    """One run of an open or a closed loop. Arrays have one element a request, in the order in which they were due.

    `offered_per_s` is None for a closed loop. `due_s`, `sent_s` and `done_s` count from the start of the run; `sent_s`
    is NaN where the request never had a connection. `statuses` holds HTTP statuses, TIMED_OUT or BROKEN. `facts` are
    of Lightbox's answers, where they were read. `exhausted` counts requests that waited because all connections were
    in use; `client_cpu_s` is the CPU time of the generator itself.
    """

    offered_per_s: float | None
    duration_s: float
    due_s: Floats
    sent_s: Floats
    done_s: Floats
    statuses: NDArray[np.int16]
    facts: tuple[AnswerFacts | None, ...]
    connections: int
    exhausted: int
    client_cpu_s: float

    @property
    def requests(self) -> int:
        """How many there were."""
        return len(self.statuses)

    @cached_property
    def by_status(self) -> Mapping[int, int]:
        """Requests by HTTP status, TIMED_OUT or BROKEN; the most frequent first."""
        return dict(Counter(self.statuses.tolist()).most_common())

    @cached_property
    def latencies_ms(self) -> Floats:
        """From when each request was due to its complete answer, or until it was given up."""
        latencies_ms: Floats = (self.done_s - self.due_s) * 1000
        return latencies_ms

    @cached_property
    def answered_ms(self) -> Floats:
        """The latencies of answers with status 200."""
        answered_ms: Floats = self.latencies_ms[self.statuses == OK]
        return answered_ms

    @cached_property
    def refused_ms(self) -> Floats:
        """The latencies of refusals: 429 and 503."""
        return self.latencies_ms[np.isin(self.statuses, REFUSALS)]

    @property
    def refused(self) -> int:
        """Requests that the server refused for load, or since it was not ready."""
        return len(self.refused_ms)

    @property
    def failed(self) -> int:
        """Requests that were neither answered nor refused: any other status, a broken connection, no answer in time."""
        return self.requests - len(self.answered_ms) - self.refused

    @property
    def is_client_busy(self) -> bool:
        """Whether the client's thread had no CPU time to spare."""
        return self.client_cpu_s > CLIENT_BUSY * self.duration_s

    @property
    def is_client_bound(self) -> bool:
        """Whether the client itself was the limit: out of connections, out of CPU, or late with its requests."""
        if self.exhausted or self.is_client_busy:
            return True
        wait_ms = self.client_wait_p99_ms
        if wait_ms is None:
            return False
        return wait_ms > max(LATE_MS, LATE_SHARE * float(np.quantile(self.latencies_ms, 0.99)))

    @property
    def client_wait_p99_ms(self) -> float | None:
        """How late an open loop's client sent its requests, in the 99th percentile; None for a closed loop."""
        waits_ms = (self.sent_s - self.due_s)[np.isfinite(self.sent_s)] * 1000
        return float(np.quantile(waits_ms, 0.99)) if self.offered_per_s is not None and len(waits_ms) else None

    def percentile_ms(self, share: float) -> float:
        """Return the latency within which this share of all requests was answered with 200.

        NaN if there was no request, infinite where too many were refused or failed.
        """
        if not self.requests:
            return math.nan
        return float(self._ranked_ms[math.ceil(_rank(self.requests, share)) - 1])

    def interval_ms(self, share: float) -> tuple[float, float]:
        """Return the 95 % confidence interval of `percentile_ms(share)`; its end is infinite with too few requests.

        From order statistics, so whatever the distribution (David and Nagaraja, Order Statistics, 2003, 7.1).
        """
        rank, spread = _rank(self.requests, share), 1.96 * math.sqrt(self.requests * share * (1 - share))
        low, high = max(math.floor(rank - spread), 1), math.ceil(rank + spread) + 1
        if not self.requests:
            return 0.0, math.inf
        return float(self._ranked_ms[low - 1]), float(self._ranked_ms[high - 1]) if high <= self.requests else math.inf

    @property
    def throughput_per_s(self) -> float:
        """Images answered a second, once the load had settled."""
        return self.goodput_per_s(math.inf)

    def goodput_per_s(self, target_ms: float) -> float:
        """Return images answered within the target a second.

        Counts answers by when they came, from the end of settling (a fifth of the run, at most a second) to the end of
        the schedule. What fills a queue in an overload, or drains from it afterwards, does not count.
        """
        is_good = (self.statuses == OK) & (self.latencies_ms <= target_ms)
        return self._count_settled(self.done_s[is_good]) / (self.duration_s - self._settled_s)

    @property
    def queue_growth(self) -> int:
        """By how many requests the queue grew, once the load had settled: due and not done as the schedule ended.

        It counts as 0 up to 5 % of the requests, and up to three standard deviations of what a steady service has in
        flight by chance: Poisson's, of the mean number in flight.
        """
        in_flight = float((np.minimum(self.done_s, self.duration_s) - self.due_s).sum()) / self.duration_s
        due = self._count_settled(self.due_s)
        allowed = max(MAX_SHORTFALL * due, 3 * math.sqrt(max(in_flight, 1)))
        growth = due - self._count_settled(self.done_s)
        return growth if growth > allowed else 0

    @cached_property
    def cached(self) -> int:
        """Answers that came from the server's cache."""
        return sum(one.is_cached for one in self.facts if one is not None)

    @cached_property
    def stages_ms(self) -> Mapping[str, Floats]:
        """The server's own timings by stage, of computed answers, in their order; empty arrays without any."""
        columns = self._computed[:, : len(STAGES)].T
        return dict(zip(STAGES, columns, strict=True))

    @cached_property
    def inference_per_image_ms(self) -> Floats:
        """The share of each computed answer in its batch's inference."""
        return self.stages_ms["inference"] / np.maximum(self._computed[:, AnswerFacts._fields.index("batch_size")], 1)

    @cached_property
    def http_ms(self) -> Floats:
        """What each computed answer spent in none of decode, queue and inference: sending, HTTP, event loops."""
        is_computed = np.array([one is not None and not one.is_cached for one in self.facts], dtype=bool)
        http_ms: Floats = self.latencies_ms[is_computed] - self._computed[:, 1 : len(STAGES)].sum(axis=1)
        return http_ms

    @cached_property
    def _computed(self) -> Floats:
        """The facts of computed answers, a row each."""
        rows = [one for one in self.facts if one is not None and not one.is_cached]
        return np.array(rows, dtype=np.float64).reshape(-1, len(AnswerFacts._fields))

    @cached_property
    def _ranked_ms(self) -> Floats:
        return np.sort(np.where(self.statuses == OK, self.latencies_ms, np.inf))

    @property
    def _settled_s(self) -> float:
        return min(self.duration_s * SETTLING_SHARE, MAX_SETTLING_S)

    def _count_settled(self, moments_s: Floats) -> int:
        return int(np.count_nonzero((moments_s > self._settled_s) & (moments_s <= self.duration_s)))


def _rank(count: int, share: float) -> float:
    """Return the rank of a percentile, from 1, without the product's rounding error: 990 of 1000, not 991."""
    return max(round(count * share, 6), 1.0)
