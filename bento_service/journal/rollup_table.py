"""Reads and writes the tables of rollups and class names, within a transaction of the caller."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from sqlalchemy import Connection, and_, bindparam, delete, insert, or_, select, update

from bento_service.database import tables
from bento_service.domain.requests import OUTCOME_OK, Receipt
from bento_service.journal.histograms import SparseHistogram
from bento_service.journal.retention import Pruning
from bento_service.journal.rollups import ClassName, Rollup, RollupKey, estimate_slowest, merge
from bento_service.journal.windows import DAY_S, RESOLUTIONS, Window, cover, from_epoch_s, to_epoch_us

Item = TypeVar("Item")

_VALUES_A_QUERY = 5_000
_KEYS_A_QUERY = 100

_TABLE = tables.rollups.c
_COUNTS = (_TABLE.outcomes, _TABLE.durations, _TABLE.slowest_ms, _TABLE.batch_sizes, _TABLE.classes)
_KEY = [_TABLE[name] for name in RollupKey._fields]
_UPDATE = (
    update(tables.rollups)
    .where(*(column == bindparam(f"key_{column.name}") for column in _KEY))
    .values({column.name: bindparam(column.name) for column in _COUNTS})
)


def add_rollups(connection: Connection, fresh: Mapping[RollupKey, Rollup]) -> None:
    """Merge rollups into the stored ones. No other transaction may write meanwhile."""
    stored: dict[RollupKey, Rollup] = {}
    for keys in _in_parts(fresh, _KEYS_A_QUERY):
        conditions = (and_(*(column == value for column, value in zip(_KEY, key, strict=True))) for key in keys)
        query = select(*_KEY, *_COUNTS).where(or_(*conditions))
        rows: Sequence[Any] = connection.execute(query).all()
        stored.update((RollupKey(*row[:3]), _to_rollup(*row[3:])) for row in rows)

    added = [_to_columns(key, rollup) for key, rollup in fresh.items() if key not in stored]
    if added:
        connection.execute(insert(tables.rollups), added)
    changed = [_to_columns(key, merge([rollup, fresh[key]])) for key, rollup in stored.items()]
    if changed:
        connection.execute(
            _UPDATE, [{f"key_{name}": row.pop(name) for name in RollupKey._fields} | row for row in changed]
        )


def read_rollups(connection: Connection, window: Window, model: str | None) -> list[list[Rollup]]:
    """Return the rollups of each bucket of a window."""
    starts: dict[int, dict[int, int]] = defaultdict(dict)
    for bucket, start_s in enumerate(window.bucket_starts()):
        for resolution_s, position_s in cover(start_s, start_s + window.width_s):
            starts[resolution_s][position_s] = bucket

    found: list[list[Rollup]] = [[] for _ in range(window.count)]
    for resolution_s, buckets in starts.items():
        for part in _in_parts(buckets, _VALUES_A_QUERY):
            query = select(_TABLE.start_s, *_COUNTS).where(
                _TABLE.resolution_s == resolution_s, _TABLE.start_s.in_(part)
            )
            if model is not None:
                query = query.where(_TABLE.model == model)
            for start_s, *counts in connection.execute(query).all():
                found[buckets[start_s]].append(_to_rollup(*counts))
    return found


def read_days(connection: Connection) -> tuple[datetime, ...]:
    """Return the start of each day on which something was recorded, as far back as days are kept."""
    query = select(_TABLE.start_s).where(_TABLE.resolution_s == DAY_S).distinct()
    return tuple(from_epoch_s(start_s) for start_s in connection.scalars(query))


def prune_rollups(connection: Connection, pruning: Pruning) -> None:
    """Delete rollups that are older than their resolution is kept, if the clock is trusted for that long."""
    for resolution in RESOLUTIONS:
        cut = pruning.find_cut(timedelta(seconds=resolution.kept_s))
        if cut is not None:
            start = _TABLE.start_s < to_epoch_us(cut) // 1_000_000
            connection.execute(delete(tables.rollups).where(_TABLE.resolution_s == resolution.width_s, start))


def delete_rollups_after(connection: Connection, moment: datetime) -> None:
    """Delete the rollups that start after a time."""
    connection.execute(delete(tables.rollups).where(_TABLE.start_s > to_epoch_us(moment) // 1_000_000))


def assign_class_keys(connection: Connection, receipts: Iterable[Receipt]) -> dict[ClassName, int]:
    """Return the keys of the top-1 classes of receipts; store new classes.

    Keys are read each time: after tables were dropped or restored, a remembered key would name another class.
    """
    tops = {(r.top[0].class_id, r.top[0].label) for r in receipts if r.outcome == OUTCOME_OK and r.top}
    table = tables.classes.c
    keys: dict[ClassName, int] = {}
    for ids in _in_parts({class_id for class_id, _ in tops}, _VALUES_A_QUERY):
        found = connection.execute(select(tables.classes).where(table.class_id.in_(ids))).all()
        keys.update(((row.class_id, row.label), row.key) for row in found)
    new = [{"class_id": class_id, "label": label} for class_id, label in sorted(tops - keys.keys())]
    if new:
        query = insert(tables.classes).returning(table.class_id, table.label, table.key)
        keys.update(((row.class_id, row.label), row.key) for row in connection.execute(query, new))
    return keys


def read_class_names(connection: Connection) -> dict[int, ClassName]:
    """Return every stored class by its key."""
    return {row.key: (row.class_id, row.label) for row in connection.execute(select(tables.classes)).all()}


def _in_parts(items: Iterable[Item], size: int) -> Iterator[Sequence[Item]]:
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part


def _to_columns(key: RollupKey, rollup: Rollup) -> dict[str, object]:
    return {
        **key._asdict(),
        "outcomes": dict(rollup.outcomes),
        "durations": rollup.durations.encode(),
        "slowest_ms": rollup.slowest_ms.astype("<f8", copy=False).tobytes(),
        "batch_sizes": rollup.batch_sizes.encode(),
        "classes": rollup.classes.encode(),
    }


def _to_rollup(
    outcomes: Mapping[str, int], durations: bytes, slowest_ms: bytes | None, batch_sizes: bytes, classes: bytes
) -> Rollup:
    """Return the rollup of a row's columns. Rows from before revision 0002 have no `slowest_ms`; it is estimated."""
    counted = SparseHistogram.decode(durations)
    slowest = estimate_slowest(counted) if slowest_ms is None else np.frombuffer(slowest_ms, dtype="<f8")
    return Rollup(outcomes, counted, slowest, SparseHistogram.decode(batch_sizes), SparseHistogram.decode(classes))
