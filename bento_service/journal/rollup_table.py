"""The tables of rollups and of class names: merging into them and reading out of them, inside a given transaction."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from sqlalchemy import Connection, and_, bindparam, delete, insert, or_, select, update

from bento_service.domain import OUTCOME_OK, Receipt
from bento_service.journal import schema
from bento_service.journal.rollups import ClassName, Rollup, RollupKey, merge
from bento_service.journal.rows import from_rollup, to_rollup
from bento_service.journal.windows import RESOLUTIONS, Window, cover

Item = TypeVar("Item")

_VALUES_A_QUERY = 5_000
_KEYS_A_QUERY = 100

_TABLE = schema.rollups.c
_COUNTS = (_TABLE.outcomes, _TABLE.durations, _TABLE.slowest_ms, _TABLE.batch_sizes, _TABLE.classes)
_UPDATE = (
    update(schema.rollups)
    .where(
        _TABLE.resolution_s == bindparam("key_resolution_s"),
        _TABLE.start_s == bindparam("key_start_s"),
        _TABLE.model == bindparam("key_model"),
    )
    .values({column.name: bindparam(column.name) for column in _COUNTS})
)


def add_rollups(connection: Connection, fresh: Mapping[RollupKey, Rollup]) -> None:
    """Merge rollups into the stored ones. The transaction has to be the only one that writes."""
    stored: dict[RollupKey, Rollup] = {}
    for keys in _in_parts(fresh, _KEYS_A_QUERY):
        conditions = (
            and_(_TABLE.resolution_s == key.resolution_s, _TABLE.start_s == key.start_s, _TABLE.model == key.model)
            for key in keys
        )
        query = select(_TABLE.resolution_s, _TABLE.start_s, _TABLE.model, *_COUNTS).where(or_(*conditions))
        stored.update((RollupKey(*row[:3]), to_rollup(*row[3:])) for row in connection.execute(query).all())

    added = [from_rollup(key, rollup) for key, rollup in fresh.items() if key not in stored]
    if added:
        connection.execute(insert(schema.rollups), added)
    changed = [from_rollup(key, merge([rollup, fresh[key]])) for key, rollup in stored.items()]
    if changed:
        names = ("resolution_s", "start_s", "model")
        connection.execute(_UPDATE, [{**row, **{f"key_{name}": row.pop(name) for name in names}} for row in changed])


def read_rollups(connection: Connection, window: Window, model: str | None) -> list[list[Rollup]]:
    """Return the rollups that make up each bucket of a window, in the order of the buckets."""
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
                found[buckets[start_s]].append(to_rollup(*counts))
    return found


def prune_rollups(connection: Connection, now_s: int) -> None:
    """Delete the rollups that have outlived their resolution."""
    for resolution in RESOLUTIONS:
        is_old = and_(_TABLE.resolution_s == resolution.width_s, _TABLE.start_s < now_s - resolution.kept_s)
        connection.execute(delete(schema.rollups).where(is_old))


def assign_class_keys(
    connection: Connection, receipts: Iterable[Receipt], known: Mapping[ClassName, int]
) -> dict[ClassName, int]:
    """Return the keys of the classes that come first in receipts and are not among the known ones, new or stored."""
    tops = {(r.top[0].class_id, r.top[0].label) for r in receipts if r.outcome == OUTCOME_OK and r.top}
    missing = tops - known.keys()
    if not missing:
        return {}
    table = schema.classes.c
    stored = {(row.class_id, row.label): row.key for row in connection.execute(select(schema.classes)).all()}
    new = [{"class_id": class_id, "label": label} for class_id, label in sorted(missing - stored.keys())]
    if new:
        query = insert(schema.classes).returning(table.class_id, table.label, table.key)
        stored.update(((row.class_id, row.label), row.key) for row in connection.execute(query, new))
    return stored


def read_class_names(connection: Connection) -> dict[int, ClassName]:
    """Return every class that ever came first, by its key."""
    return {row.key: (row.class_id, row.label) for row in connection.execute(select(schema.classes)).all()}


def _in_parts(items: Iterable[Item], size: int) -> Iterator[Sequence[Item]]:
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part
