"""What became of a load, request by request, and the figures that are read from it."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bento_service.load_test.exchange import BROKEN, OK, TIMED_OUT, AnswerFacts, Exchange

REFUSALS = (429, 503)
STAGES = ("receive", "decode", "queue", "inference", "total")
SETTLING_SHARE = 0.2
MAX_SETTLING_S = 1.0
MAX_SHORTFALL = 0.05
"""Share of the requests due that need not be done by the end of the run."""
LATE_MS = 5.0
LATE_SHARE = 0.1
"""The client's own lateness is worth a word beyond both: so long, and such a share of the latency at p99."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LoadResult:
    """One run of an open or a closed loop. Arrays have one element a request, in the order in which they were due.

    `offered_per_s` is None for a closed loop. `due_s`, `sent_s` and `done_s` count from the start of the run; `sent_s`
    is NaN where the request never had a connection. `statuses` holds HTTP statuses, TIMED_OUT or BROKEN.
    `retry_after_s` is NaN where the answer asked for no wait. `facts` are of Lightbox's answers, where they were read.
    `exhausted` counts requests that waited because all `max_connections` were taken; `client_cpu_s` is the CPU time of
    the generator itself.
    """

    offered_per_s: float | None
    duration_s: float
    due_s: Floats
    sent_s: Floats
    done_s: Floats
    statuses: NDArray[np.int16]
    retry_after_s: Floats
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
        """From when each request was due to when its answer was whole, or it was given up."""
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
    def waits_ms(self) -> Floats:
        """From when each request was due to when it was sent: a late timer, or no connection. NaN if never sent."""
        waits_ms: Floats = (self.sent_s - self.due_s) * 1000
        return waits_ms

    @property
    def client_cpu_us(self) -> float:
        """CPU time of the generator a request, in microseconds."""
        return self.client_cpu_s / max(self.requests, 1) * 1e6

    def percentile_ms(self, share: float) -> float:
        """Return the least latency that this share of all requests kept; what was not answered with 200 took forever.

        NaN if there was none, infinite where too many were refused or failed.
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

        Counts answers by the moment they came, from the end of settling (a fifth of the run, at most a second) to the
        end of the schedule. So a queue that fills in an overload is not taken for throughput, nor what drains after it.
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

    @property
    def is_client_bound(self) -> bool:
        """Whether the client itself was the limit: out of connections, out of CPU, or late with its requests."""
        waits_ms = self.waits_ms[np.isfinite(self.waits_ms)]
        late_ms = float(np.quantile(waits_ms, 0.99)) if self.offered_per_s is not None and len(waits_ms) else 0.0
        is_late = late_ms > max(LATE_MS, LATE_SHARE * float(np.quantile(self.latencies_ms, 0.99)))
        is_busy = self.client_cpu_s > 0.8 * self.duration_s
        return self.exhausted > 0 or is_late or is_busy

    @cached_property
    def http_ms(self) -> Floats:
        """What an answer spent in none of decode, queue and inference: sending, HTTP, event loops; of computed ones."""
        pairs = zip(self.latencies_ms.tolist(), self.facts, strict=True)
        spent = [ms - one.decode_ms - one.queue_ms - one.inference_ms for ms, one in pairs if one and not one.is_cached]
        return np.array(spent, dtype=np.float64)

    @cached_property
    def inference_per_image_ms(self) -> Floats:
        """The share of each computed answer in its batch's inference."""
        shares = [one.inference_ms / max(one.batch_size, 1) for one in self.facts if one and not one.is_cached]
        return np.array(shares, dtype=np.float64)

    @cached_property
    def cached(self) -> int:
        """Answers that came from the server's cache."""
        return sum(one.is_cached for one in self.facts if one is not None)

    @cached_property
    def stages_ms(self) -> Mapping[str, Floats]:
        """The server's own timings by stage, of answers that were computed; empty arrays where none has any."""
        rows = [one[: len(STAGES)] for one in self.facts if one is not None and not one.is_cached]
        table = np.array(rows, dtype=np.float64).reshape(-1, len(STAGES))
        return {stage: table[:, column] for column, stage in enumerate(STAGES)}

    @cached_property
    def _ranked_ms(self) -> Floats:
        return np.sort(np.where(self.statuses == OK, self.latencies_ms, np.inf))

    @property
    def _settled_s(self) -> float:
        return min(self.duration_s * SETTLING_SHARE, MAX_SETTLING_S)

    def _count_settled(self, moments_s: Floats) -> int:
        return int(np.count_nonzero((moments_s > self._settled_s) & (moments_s <= self.duration_s)))


def _rank(count: int, share: float) -> float:
    """Return the rank of a percentile, from 1, rid of what the product's last bits say: 990 of 1000 is no 991."""
    return max(round(count * share, 6), 1.0)


def summarise(
    exchanges: Sequence[Exchange],
    *,
    begun_s: float,
    offered_per_s: float | None,
    duration_s: float,
    connections: int,
    exhausted: int,
    client_cpu_s: float,
) -> LoadResult:
    """Gather finished requests; `begun_s` is the start of the run on their clock."""

    def column(name: str) -> Floats:
        return np.array([getattr(exchange, name) for exchange in exchanges], dtype=np.float64)

    return LoadResult(
        offered_per_s=offered_per_s,
        duration_s=duration_s,
        due_s=column("due_s") - begun_s,
        sent_s=column("sent_s") - begun_s,
        done_s=column("done_s") - begun_s,
        statuses=np.array([exchange.status for exchange in exchanges], dtype=np.int16),
        retry_after_s=column("retry_after_s"),
        facts=tuple(exchange.facts for exchange in exchanges),
        connections=connections,
        exhausted=exhausted,
        client_cpu_s=client_cpu_s,
    )


def name_status(status: int) -> str:
    """Return a status for people: `200`, or words where none came."""
    return {TIMED_OUT: "timed out", BROKEN: "connection broken"}.get(status, str(status))
