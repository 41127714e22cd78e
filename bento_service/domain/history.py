"""Aggregates of stored receipts over time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Percentiles and maximum of durations in milliseconds; None where there are none."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None


@dataclass(frozen=True, slots=True)
class HistoryBucket:
    """The requests of one interval, `[start, start + width)`.

    `outcomes` counts requests by outcome, `cached` those answered (`ok`) from the cache; the other answers were
    computed. `stages` maps `total`, `receive`, `decode`, `queue` and `inference` to the percentiles of computed
    answers, `cached_total` has those of the whole time of cached ones. `batch_sizes` counts computed answers by the
    size of their batch, `top_classes` all answers by top-1 `(class_id, label)`, most frequent first, at most ten.
    """

    start: datetime
    outcomes: Mapping[str, int] = field(default_factory=dict)
    cached: int = 0
    cached_total: Quantiles = field(default_factory=Quantiles)
    stages: Mapping[str, Quantiles] = field(default_factory=dict)
    batch_sizes: Mapping[int, int] = field(default_factory=dict)
    top_classes: tuple[tuple[int, str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class History:
    """Aggregates of the journal: a bucket for each `bucket_s` seconds, and `total` over the whole window.

    The last bucket is incomplete where it ends after `until`.
    """

    since: datetime
    until: datetime
    bucket_s: float
    buckets: tuple[HistoryBucket, ...]
    total: HistoryBucket
