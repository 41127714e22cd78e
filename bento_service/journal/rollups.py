"""Rollups: aggregates of one model's receipts over one interval, small and mergeable. Pure functions."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.history import HistoryBucket, Quantiles
from bento_service.domain.requests import OUTCOME_OK, Receipt
from bento_service.journal.histograms import BINS, SparseHistogram, clip, find_bins, find_percentiles, upper_ends
from bento_service.journal.windows import RESOLUTIONS, to_epoch_us

STAGES = ("total", "receive", "decode", "queue", "inference")
"""The timed stages of a computed answer."""
CACHED = "cached"
"""The total time of an answer from the cache, which has no stages."""
SERIES = (*STAGES, CACHED)
"""The kinds of durations in a rollup, in their stored order."""
TOP_CLASSES = 10

ClassName = tuple[int, str]
"""class_id and label."""

_PERCENTS = (50, 95, 99)
_EDGES = np.arange(len(SERIES) + 1) * BINS
"""The first key of each series in `Rollup.durations`, and the end of the last."""
_NO_DURATIONS = np.zeros(len(SERIES))


class RollupKey(NamedTuple):
    """Identifies a rollup: `[start_s, start_s + resolution_s)` in seconds since 1970, and the model."""

    resolution_s: int
    start_s: int
    model: str


@dataclass(frozen=True, slots=True, eq=False)
class Rollup:
    """Counts of one interval.

    `outcomes` counts every request, the rest answered ones: `classes` by the key of their top-1 class, `batch_sizes`
    computed ones by batch size, `durations` by position in `SERIES` * BINS + bin. `slowest_ms` is the longest duration
    of each of `SERIES`, or zero.
    """

    outcomes: Mapping[str, int]
    durations: SparseHistogram
    slowest_ms: NDArray[np.float64]
    batch_sizes: SparseHistogram
    classes: SparseHistogram


def summarise(receipts: Iterable[Receipt], class_keys: Mapping[ClassName, int]) -> dict[RollupKey, Rollup]:
    """Return the rollups of receipts at every resolution; `class_keys` numbers the top-1 classes of answered ones."""
    finest_s = RESOLUTIONS[0].width_s
    groups: dict[RollupKey, list[Receipt]] = defaultdict(list)
    for receipt in receipts:
        second = to_epoch_us(receipt.received_at) // 1_000_000
        groups[RollupKey(finest_s, second - second % finest_s, receipt.model)].append(receipt)

    level = {key: _roll_up(group, class_keys) for key, group in groups.items()}
    rollups = dict(level)
    for resolution in RESOLUTIONS[1:]:
        level = _coarsen(level, resolution.width_s)
        rollups.update(level)
    return rollups


def merge(rollups: Sequence[Rollup]) -> Rollup:
    """Return one rollup of several intervals or models."""
    if len(rollups) == 1:
        return rollups[0]
    outcomes: Counter[str] = Counter()
    for rollup in rollups:
        outcomes.update(rollup.outcomes)
    return Rollup(
        outcomes=outcomes,
        durations=SparseHistogram.add_up([rollup.durations for rollup in rollups]),
        slowest_ms=np.max([_NO_DURATIONS, *(rollup.slowest_ms for rollup in rollups)], axis=0),
        batch_sizes=SparseHistogram.add_up([rollup.batch_sizes for rollup in rollups]),
        classes=SparseHistogram.add_up([rollup.classes for rollup in rollups]),
    )


def to_bucket(start: datetime, rollup: Rollup, class_names: Mapping[int, ClassName]) -> HistoryBucket:
    """Return a rollup as a bucket of history. `class_names` is the inverse of `class_keys` in `summarise`."""
    parts = _split(rollup.durations)
    quantiles = {
        series: _find_quantiles(part, slowest_ms)
        for (series, part), slowest_ms in zip(parts.items(), rollup.slowest_ms.tolist(), strict=True)
    }
    return HistoryBucket(
        start=start,
        outcomes=dict(rollup.outcomes),
        cached=rollup.outcomes.get(OUTCOME_OK, 0) - int(parts["total"].counts.sum()),
        cached_total=quantiles.pop(CACHED),
        stages=quantiles,
        batch_sizes=rollup.batch_sizes.as_dict(),
        top_classes=_find_top_classes(rollup.classes, class_names),
    )


def estimate_slowest(durations: SparseHistogram) -> NDArray[np.float64]:
    """Return `Rollup.slowest_ms` for a rollup stored without it: the upper end of each series' last bin."""
    parts = _split(durations).values()
    return np.array([upper_ends(part.keys[-1:])[0] if len(part.keys) else 0.0 for part in parts])


def _roll_up(receipts: Sequence[Receipt], class_keys: Mapping[ClassName, int]) -> Rollup:
    answered = [receipt for receipt in receipts if receipt.outcome == OUTCOME_OK]
    computed = [receipt for receipt in answered if not receipt.cached]
    tops = [receipt.top[0] for receipt in answered if receipt.top]
    rows = [(t.total_ms, t.receive_ms, t.decode_ms, t.queue_ms, t.inference_ms) for t in (r.timings for r in computed)]
    stages_ms = np.array(rows, dtype=np.float64).reshape(-1, len(STAGES))
    cached_ms = np.array([receipt.timings.total_ms for receipt in answered if receipt.cached], dtype=np.float64)
    bins = [find_bins(stages_ms) + _EDGES[: len(STAGES)], find_bins(cached_ms) + _EDGES[len(STAGES)]]
    slowest_ms = [*np.max(stages_ms, axis=0, initial=0.0), np.max(cached_ms, initial=0.0)]
    return Rollup(
        outcomes=Counter(receipt.outcome for receipt in receipts),
        durations=SparseHistogram.count(key for part in bins for key in part.ravel().tolist()),
        slowest_ms=clip(np.array(slowest_ms)),
        batch_sizes=SparseHistogram.count(receipt.batch_size for receipt in computed if receipt.batch_size > 0),
        classes=SparseHistogram.count(class_keys[top.class_id, top.label] for top in tops),
    )


def _coarsen(rollups: Mapping[RollupKey, Rollup], resolution_s: int) -> dict[RollupKey, Rollup]:
    groups: dict[RollupKey, list[Rollup]] = defaultdict(list)
    for key, rollup in rollups.items():
        groups[RollupKey(resolution_s, key.start_s - key.start_s % resolution_s, key.model)].append(rollup)
    return {key: merge(group) for key, group in groups.items()}


def _split(durations: SparseHistogram) -> dict[str, SparseHistogram]:
    """Return the histogram of each of `SERIES`, by bin."""
    edges = np.searchsorted(durations.keys, _EDGES)
    return {
        series: SparseHistogram(durations.cells[edges[at] : edges[at + 1]] - np.array([at * BINS, 0], dtype=np.uint32))
        for at, series in enumerate(SERIES)
    }


def _find_quantiles(durations: SparseHistogram, slowest_ms: float) -> Quantiles:
    found = find_percentiles(durations, _PERCENTS, slowest_ms=slowest_ms)
    if found is None:
        return Quantiles()
    p50, p95, p99 = found
    return Quantiles(p50, p95, p99, slowest_ms)


def _find_top_classes(
    classes: SparseHistogram, class_names: Mapping[int, ClassName]
) -> tuple[tuple[int, str, int], ...]:
    counts = classes.counts
    # Classes that tie with the last place are candidates too, so that the cut does not depend on the keys.
    least = np.partition(counts, -TOP_CLASSES)[-TOP_CLASSES] if len(counts) > TOP_CLASSES else 0
    candidates = classes.cells[counts >= least].tolist()
    named = ((*class_names[key], count) for key, count in candidates)
    return tuple(sorted(named, key=lambda entry: (-entry[2], entry[0], entry[1]))[:TOP_CLASSES])
