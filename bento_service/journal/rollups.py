"""Rollups: what happened in one stretch of time to one model, small and mergeable. Pure functions."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np

from bento_service.domain import OUTCOME_OK, HistoryBucket, Quantiles, Receipt
from bento_service.journal.durations import BINS, find_bins, find_quantiles
from bento_service.journal.epoch import to_epoch_us
from bento_service.journal.tallies import Tally, add_up, count_keys
from bento_service.journal.windows import RESOLUTIONS

STAGES = ("total", "receive", "decode", "queue", "inference")
TOP_CLASSES = 10

ClassName = tuple[int, str]
"""A class as people know it: class_id and label."""

_QUANTILES = (0.5, 0.95, 0.99)
_STAGE_OFFSETS = np.arange(len(STAGES)) * BINS


class RollupKey(NamedTuple):
    """Which rollup: `[start_s, start_s + resolution_s)` in seconds since 1970, and the model."""

    resolution_s: int
    start_s: int
    model: str


@dataclass(frozen=True, slots=True, eq=False)
class Rollup:
    """Counts of one stretch of time.

    `outcomes` counts every request. The rest counts answered ones: `classes` their top class by its key, cached answers
    included; `durations` (key: stage * BINS + bin) and `batch_sizes` leave cached answers out, which ran in no batch.
    """

    outcomes: Mapping[str, int]
    durations: Tally
    batch_sizes: Tally
    classes: Tally


def summarise(receipts: Iterable[Receipt], class_keys: Mapping[ClassName, int]) -> dict[RollupKey, Rollup]:
    """Roll receipts up, once for each resolution.

    Args:
        receipts: In any order.
        class_keys: A number for each `(class_id, label)` that comes first in an answered receipt.
    """
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
    """Return one rollup of several stretches of time, or of several models."""
    if len(rollups) == 1:
        return rollups[0]
    outcomes: Counter[str] = Counter()
    for rollup in rollups:
        outcomes.update(rollup.outcomes)
    return Rollup(
        outcomes=outcomes,
        durations=add_up([rollup.durations for rollup in rollups]),
        batch_sizes=add_up([rollup.batch_sizes for rollup in rollups]),
        classes=add_up([rollup.classes for rollup in rollups]),
    )


def to_bucket(start: datetime, rollup: Rollup, class_names: Mapping[int, ClassName]) -> HistoryBucket:
    """Return a rollup as people read it. `class_names` is the inverse of `class_keys` in `summarise`."""
    return HistoryBucket(
        start=start,
        outcomes=dict(rollup.outcomes),
        stages=_find_stage_quantiles(rollup.durations),
        batch_sizes=rollup.batch_sizes.as_dict(),
        top_classes=_find_top_classes(rollup.classes, class_names),
    )


def _roll_up(receipts: Sequence[Receipt], class_keys: Mapping[ClassName, int]) -> Rollup:
    answered = [receipt for receipt in receipts if receipt.outcome == OUTCOME_OK]
    computed = [receipt for receipt in answered if not receipt.cached]
    tops = [receipt.top[0] for receipt in answered if receipt.top]
    rows = [(t.total_ms, t.receive_ms, t.decode_ms, t.queue_ms, t.inference_ms) for t in (r.timings for r in computed)]
    bins = find_bins(np.array(rows, dtype=np.float64).reshape(-1, len(STAGES))) + _STAGE_OFFSETS
    return Rollup(
        outcomes=Counter(receipt.outcome for receipt in receipts),
        durations=count_keys(bins.ravel().tolist()),
        batch_sizes=count_keys(receipt.batch_size for receipt in computed if receipt.batch_size > 0),
        classes=count_keys(class_keys[top.class_id, top.label] for top in tops),
    )


def _coarsen(rollups: Mapping[RollupKey, Rollup], resolution_s: int) -> dict[RollupKey, Rollup]:
    groups: dict[RollupKey, list[Rollup]] = defaultdict(list)
    for key, rollup in rollups.items():
        groups[RollupKey(resolution_s, key.start_s - key.start_s % resolution_s, key.model)].append(rollup)
    return {key: merge(group) for key, group in groups.items()}


def _find_stage_quantiles(durations: Tally) -> dict[str, Quantiles]:
    edges = np.searchsorted(durations.keys, np.append(_STAGE_OFFSETS, len(STAGES) * BINS))
    stages = {}
    for stage, name in enumerate(STAGES):
        own = slice(edges[stage], edges[stage + 1])
        found = find_quantiles(durations.keys[own] - stage * BINS, durations.counts[own], _QUANTILES)
        stages[name] = Quantiles(*found) if found else Quantiles()
    return stages


def _find_top_classes(classes: Tally, class_names: Mapping[int, ClassName]) -> tuple[tuple[int, str, int], ...]:
    counts = classes.counts
    # Whoever ties with the last place is a candidate, so that the cut does not depend on the order of keys.
    least = np.partition(counts, -TOP_CLASSES)[-TOP_CLASSES] if len(counts) > TOP_CLASSES else 0
    candidates = classes.cells[counts >= least].tolist()
    named = ((*class_names[key], count) for key, count in candidates)
    return tuple(sorted(named, key=lambda entry: (-entry[2], entry[0], entry[1]))[:TOP_CLASSES])
