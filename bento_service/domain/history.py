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
    """The requests of one interval that begins at `start`.

    `outcomes` counts requests by outcome, `cached` those answered (`ok`) from the cache; the other answers were
    computed. `stages` has the percentiles of computed answers (`total`, `receive`, `decode`, `queue`, `inference`),
    `cached_total` those of the total time of cached ones. `batch_sizes` counts computed answers by batch size,
    `top_classes` all answers by top-1 `(class_id, label)`, most frequent first, at most ten.
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
    """A bucket for each `bucket_s` seconds, the last one perhaps incomplete, and the `total` of all."""

    since: datetime
    until: datetime
    bucket_s: float
    buckets: tuple[HistoryBucket, ...]
    total: HistoryBucket
