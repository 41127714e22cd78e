"""The journal in a SQL database."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, exists, func, insert, select

from bento_service.database import tables
from bento_service.database.connections import Database, concerns_schema, is_expected
from bento_service.database.migrate import check_revision, upgrade
from bento_service.domain.history import History
from bento_service.domain.requests import OUTCOME_OK, ImageInfo, Prediction, Receipt, Timings
from bento_service.errors import JournalUnavailableError
from bento_service.journal.base import Order
from bento_service.journal.retention import DAY, Pruning
from bento_service.journal.rollup_table import (
    add_rollups,
    assign_class_keys,
    delete_rollups_after,
    prune_rollups,
    read_class_names,
    read_days,
    read_rollups,
)
from bento_service.journal.rollups import merge, summarise, to_bucket
from bento_service.journal.windows import from_epoch_s, from_epoch_us, plan_window, to_epoch_us, utc_now

_log = logging.getLogger(__name__)
_SHORT_WINDOW = timedelta(hours=1)
_PLAIN_COLUMNS = (
    "request_id",
    "model",
    "model_version",
    "outcome",
    "batch_size",
    "dispatch",
    "digest",
    "cached",
    "score_kind",
)
"""The fields of a receipt that are columns as they are."""
_TIMING_COLUMNS = [field.name for field in fields(Timings)]
_IMAGE_COLUMNS = [f"image_{field.name}" for field in fields(ImageInfo)]
_COLUMNS = (*_PLAIN_COLUMNS, *_TIMING_COLUMNS, *_IMAGE_COLUMNS, "received_at_us", "top", "warnings")
_NO_IMAGE = (None,) * len(_IMAGE_COLUMNS)
_plain = attrgetter(*_PLAIN_COLUMNS)
_timings = attrgetter(*_TIMING_COLUMNS)
_image = attrgetter(*(field.name for field in fields(ImageInfo)))
_image_of_row = attrgetter(*_IMAGE_COLUMNS)


class SqlJournalStore:
    """A `JournalStore` in SQLite or PostgreSQL.

    Each write updates rollups at several resolutions (`windows.RESOLUTIONS`): reading a month costs about as much as
    reading an hour.
    """

    def __init__(
        self,
        url: str,
        *,
        now: Callable[[], datetime] = utc_now,
        upgrade: Callable[[Database], None] = upgrade,
    ) -> None:
        """Open no connection yet; JournalUrlError if `url` is none of `sqlite:///<path>` or `postgresql://…`.

        `now` decides which resolutions are still kept.
        """
        self.on_failed_read: Callable[[JournalUnavailableError], None] = lambda _error: None
        self._database = Database(url)
        self._now = now
        self._upgrade = upgrade
        self._is_defect_logged = False

    def migrate(self) -> None:
        """Bring the schema up to date; any failure is a JournalUnavailableError, and a defect is logged once."""
        try:
            self._upgrade(self._database)
        except JournalUnavailableError:
            raise
        except Exception as error:
            if not is_expected(error) and not self._is_defect_logged:
                self._is_defect_logged = True
                _log.exception("The journal's schema could not be brought up to date. This is a defect of Lightbox's.")
            raise self._database.explain(error) from error

    def append(self, receipts: Sequence[Receipt], *, counted_only: Sequence[Receipt] = ()) -> None:
        """Store receipts, and add both kinds to the rollups."""
        counted = (*receipts, *counted_only)
        if not counted:
            return
        rows = [_to_columns(receipt) for receipt in receipts]
        with self._explaining(), self._database.writing() as connection:
            add_rollups(connection, summarise(counted, assign_class_keys(connection, counted)))
            if rows:
                connection.execute(insert(tables.receipts), rows)

    def read_history(self, *, since: datetime, until: datetime, buckets: int, model: str | None = None) -> History:
        """Aggregate each bucket from the coarsest rollups that make it up exactly."""
        now = self._now()
        window = plan_window(since=since, until=until, buckets=buckets, now=now)
        with self._reading() as connection:
            parts = read_rollups(connection, window, model)
            class_names = read_class_names(connection)
        merged = [merge(part) for part in parts]
        starts = [from_epoch_s(start_s) for start_s in window.bucket_starts()]
        return History(
            since=starts[0],
            until=min(from_epoch_s(window.until_s), max(until.astimezone(UTC), now)),
            bucket_s=float(window.width_s),
            buckets=tuple(to_bucket(start, rollup, class_names) for start, rollup in zip(starts, merged, strict=True)),
            total=to_bucket(starts[0], merge(merged), class_names),
        )

    def read_receipts(
        self,
        *,
        since: datetime,
        until: datetime,
        order: Order,
        limit: int,
        model: str | None = None,
        model_version: str | None = None,
        outcome: str | None = None,
        request_id: str | None = None,
        offset: int = 0,
    ) -> tuple[Receipt, ...]:
        """Return single receipts; of equal ones, the latest written first."""
        table = tables.receipts.c
        since_us, until_us = to_epoch_us(since), to_epoch_us(until)
        query = select(tables.receipts).where(table.received_at_us >= since_us, table.received_at_us < until_us)
        model_term: ColumnElement[str] = table.model
        outcome_term: ColumnElement[str] = table.outcome
        if order == "slowest":
            outcome = outcome or OUTCOME_OK
            query = query.order_by(table.total_ms.desc(), table.id.desc())
            # SQLite has no statistics to choose an index by. A filter that is an expression cannot use one: a short
            # window then takes the index by time, a long one the index by total time from its slow end.
            if self._database.is_sqlite and until - since <= _SHORT_WINDOW:
                outcome_term = table.outcome.concat("")
            elif self._database.is_sqlite:
                model_term = table.model.concat("")
        else:
            query = query.order_by(table.received_at_us.desc(), table.id.desc())
        if model is not None:
            query = query.where(model_term == model)
        if model_version is not None:
            query = query.where(table.model_version == model_version)
        if outcome is not None:
            query = query.where(outcome_term == outcome)
        if request_id is not None:
            query = query.where(table.request_id == request_id)
        with self._reading() as connection:
            return tuple(_to_receipt(row) for row in connection.execute(query.limit(limit).offset(offset)).all())

    def prune(
        self, *, now: datetime, steady_for: timedelta, retention: timedelta, max_receipts: int, limit: int
    ) -> int:
        """Delete receipts and rollups.

        Receipts are counted by their ids, since counting rows would read the whole index: where a rolled-back write
        left ids out, fewer than `max_receipts` are kept.
        """
        table = tables.receipts.c
        newest = select(func.max(table.id)).scalar_subquery()
        surplus = select(table.id).where(table.id <= newest - max_receipts).order_by(table.id)
        deleted = 0
        with self._explaining(), self._database.writing() as connection:
            pruning = Pruning(now, steady_for, read_days(connection))
            if (cut := pruning.find_cut(retention)) is not None:
                deleted = _delete(connection, _dated_ahead(now + DAY, cut), limit)
                if deleted:
                    delete_rollups_after(connection, now + DAY)
                old = select(table.id).where(table.received_at_us < to_epoch_us(cut)).order_by(table.received_at_us)
                deleted += _delete(connection, old, limit - deleted)
                _delete_comparisons(connection, tables.comparisons.c.compared_at_us < to_epoch_us(cut), limit)
            deleted += _delete(connection, surplus, limit - deleted)
            newest_comparison = select(func.max(tables.comparisons.c.id)).scalar_subquery()
            _delete_comparisons(connection, tables.comparisons.c.id <= newest_comparison - max_receipts, limit)
            if deleted < limit:
                prune_rollups(connection, pruning)
        return deleted

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._explaining(), self._database.reading() as connection:
                yield connection
        except JournalUnavailableError as error:
            self.on_failed_read(error)
            raise

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        """Raise JournalTooNewError if a table or column is missing because a newer Lightbox migrated the schema."""
        try:
            yield
        except JournalUnavailableError as error:
            if concerns_schema(error.__cause__):
                check_revision(self._database)
            raise


def migrate(url: str) -> None:
    """Bring a journal's database up to date, or raise JournalUrlError or JournalUnavailableError."""
    with closing(SqlJournalStore(url)) as store:
        store.migrate()


def _dated_ahead(moment: datetime, cut: datetime) -> Select[tuple[int]]:
    """Select receipts dated after `moment` but written before one that is older than `cut`: their clock was ahead.

    A date after now alone does not show that: the clock may be behind now.
    """
    old, receipts = tables.receipts.alias(), tables.receipts.c
    is_older = exists().where(old.c.received_at_us < to_epoch_us(cut), old.c.id > receipts.id)
    return select(receipts.id).where(receipts.received_at_us > to_epoch_us(moment), is_older)


def _delete(connection: Connection, ids: Select[tuple[int]], limit: int) -> int:
    return connection.execute(delete(tables.receipts).where(tables.receipts.c.id.in_(ids.limit(limit)))).rowcount


def _delete_comparisons(connection: Connection, is_due: ColumnElement[bool], limit: int) -> None:
    table = tables.comparisons
    connection.execute(delete(table).where(table.c.id.in_(select(table.c.id).where(is_due).limit(limit))))


def _to_columns(receipt: Receipt) -> dict[str, object]:
    values = (
        *_plain(receipt),
        *_timings(receipt.timings),
        *(_image(receipt.image) if receipt.image else _NO_IMAGE),
        to_epoch_us(receipt.received_at),
        [{"class_id": p.class_id, "label": p.label, "score": p.score} for p in receipt.top],
        list(receipt.warnings),
    )
    return dict(zip(_COLUMNS, values, strict=True))


def _to_receipt(row: Row[Any]) -> Receipt:
    return Receipt(
        **dict(zip(_PLAIN_COLUMNS, _plain(row), strict=True)),
        timings=Timings(*_timings(row)),
        image=None if row.image_format is None else ImageInfo(*_image_of_row(row)),
        received_at=from_epoch_us(row.received_at_us),
        top=tuple(Prediction(**prediction) for prediction in row.top),
        warnings=tuple(row.warnings),
    )
