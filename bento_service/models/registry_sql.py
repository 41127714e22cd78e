"""The registry in a SQL database: that of the journal, so that replicas share it on PostgreSQL."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import BigInteger, Connection, Select, case, cast, delete, func, insert, select, update
from sqlalchemy.sql.elements import ColumnElement

from bento_service.database import tables
from bento_service.database.connections import Database
from bento_service.database.migrate import upgrade
from bento_service.domain.registry import (
    Agreement,
    Change,
    Comparison,
    Deployment,
    LoadState,
    VersionStatus,
    WorkerReport,
)
from bento_service.errors import JournalUnavailableError
from bento_service.models.registry import REPORT_VALID_S, Transform

CHANGES_KEPT = 10_000
_RETRY_AFTER_S = 5.0
_DEPLOYMENT = TypeAdapter(Deployment)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class SqlRegistryStore:
    """A `RegistryStore` in SQLite or PostgreSQL."""

    def __init__(self, url: str, *, now: Callable[[], datetime] = _utc_now) -> None:
        """Open no connection yet; JournalUrlError if `url` is none of `sqlite:///<path>` or `postgresql://…`.

        On PostgreSQL the server's clock is asked instead of `now`: those of replicas may differ.
        """
        self._database = Database(url)
        self._now = now

    def migrate(self) -> None:
        """Bring the schema up to date, as the journal does."""
        upgrade(self._database)

    def revision(self) -> int:
        """Read one number, from the end of an index."""
        with self._database.reading() as connection:
            return connection.scalar(select(func.max(tables.registry_changes.c.id))) or 0

    def deployments(self) -> Mapping[str, Deployment]:
        """Read every row: there is one a model."""
        with self._database.reading() as connection:
            found = self._read_deployments(connection, select(tables.deployments).order_by(tables.deployments.c.name))
        return {deployment.name: deployment for deployment in found}

    def change(
        self, name: str, transform: Transform, *, action: str, version: str, actor: str, is_retry: bool = False
    ) -> Deployment:
        """Read, transform and write under the lock that all writers of the database take."""
        table = tables.deployments
        with self._database.writing() as connection:
            before = next(iter(self._read_deployments(connection, select(table).where(table.c.name == name))), None)
            wanted = transform(before)
            if wanted == before and not is_retry:
                return wanted
            after = replace(wanted, revision=self._write_change(connection, name, action, version, actor))
            columns = _to_columns(after)
            if before is None:
                connection.execute(insert(table).values(columns))
            else:
                connection.execute(update(table).where(table.c.name == name).values(columns))
        return after

    def changes(self, name: str, *, limit: int) -> tuple[Change, ...]:
        """Read from the end of an index."""
        table = tables.registry_changes
        query = select(table).where(table.c.model == name).order_by(table.c.id.desc()).limit(limit)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return tuple(
            Change(row.id, _EPOCH + row.changed_at_us * _MICROSECOND, row.model, row.action, row.version, row.actor)
            for row in rows
        )

    def report(self, report: WorkerReport) -> None:
        """Replace the worker's row, and delete those of workers that died."""
        table = tables.worker_reports
        versions = [
            {"name": name, "version": version, **asdict(status)} for (name, version), status in report.versions.items()
        ]
        with self._database.writing() as connection:
            now_us = self._read_clock(connection)
            dead = table.c.reported_at_us < now_us - round(REPORT_VALID_S * 1e6)
            connection.execute(delete(table).where((table.c.worker_id == report.worker_id) | dead))
            connection.execute(
                insert(table).values(
                    worker_id=report.worker_id,
                    host=report.host,
                    applied=dict(report.applied),
                    versions=versions,
                    reported_at_us=now_us,
                )
            )

    def withdraw(self, worker_id: str) -> None:
        """Delete the worker's row."""
        table = tables.worker_reports
        with self._database.writing() as connection:
            connection.execute(delete(table).where(table.c.worker_id == worker_id))

    def workers(self) -> tuple[WorkerReport, ...]:
        """Read the rows that are young enough."""
        table = tables.worker_reports
        with self._database.reading() as connection:
            since_us = self._read_clock(connection) - round(REPORT_VALID_S * 1e6)
            query = select(table).where(table.c.reported_at_us >= since_us).order_by(table.c.host, table.c.worker_id)
            rows = connection.execute(query).all()
        return tuple(WorkerReport(row.worker_id, row.host, row.applied, _to_statuses(row.versions)) for row in rows)

    def add_comparisons(self, comparisons: Sequence[Comparison]) -> None:
        """Write a row for each; the journal's pruning deletes them with its receipts."""
        rows = [
            {
                "compared_at_us": (one.compared_at - _EPOCH) // _MICROSECOND,
                "request_id": one.request_id,
                "model": one.name,
                "version": one.version,
                "challenger": one.challenger,
                "is_same_class": one.is_same_class,
                "max_difference": one.max_difference,
            }
            for one in comparisons
        ]
        if rows:
            with self._database.writing() as connection:
                connection.execute(insert(tables.comparisons), rows)

    def agreement(self, name: str, version: str, challenger: str) -> Agreement:
        """Aggregate the rows of these two versions."""
        table = tables.comparisons.c
        query = select(
            func.count(),
            func.coalesce(func.sum(case((table.is_same_class, 1), else_=0)), 0),
            func.coalesce(func.avg(table.max_difference), 0.0),
            func.coalesce(func.max(table.max_difference), 0.0),
        ).where(table.model == name, table.version == version, table.challenger == challenger)
        with self._database.reading() as connection:
            compared, same_class, mean, largest = connection.execute(query).one()
        return Agreement(compared, int(same_class), float(mean), float(largest))

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def _write_change(self, connection: Connection, name: str, action: str, version: str, actor: str) -> int:
        table = tables.registry_changes
        entry = insert(table).values(
            changed_at_us=self._read_clock(connection), model=name, action=action, version=version, actor=actor
        )
        revision: int = connection.execute(entry.returning(table.c.id)).scalar_one()
        connection.execute(delete(table).where(table.c.id <= revision - CHANGES_KEPT))
        return revision

    def _read_clock(self, connection: Connection) -> int:
        """Return microseconds since 1970."""
        if self._database.is_sqlite:
            return (self._now() - _EPOCH) // _MICROSECOND
        epoch_s: ColumnElement[Any] = func.extract("epoch", func.clock_timestamp())
        return int(connection.scalar(select(cast(epoch_s * 1_000_000, BigInteger))) or 0)

    def _read_deployments(self, connection: Connection, query: Select[Any]) -> list[Deployment]:
        which = "a row"
        found = list[Deployment]()
        try:
            for row in connection.execute(query):
                which = f"the row of {row.name!r}"
                deployment = _DEPLOYMENT.validate_python(row._asdict())
                if not deployment.is_empty and deployment.champion not in deployment.versions:
                    raise ValueError("the champion is none of the versions")
                found.append(deployment)
                which = "a row"
        # JSON's error and pydantic's are ValueErrors; there may be no champion.
        except (ValueError, KeyError) as error:
            raise JournalUnavailableError(
                f"In the registry at {self._database.name} {which} in `deployments` is damaged, so nothing can be "
                "changed. Restore a backup, or delete the row: the workers write down what they serve.",
                retry_after_s=_RETRY_AFTER_S,
            ) from error
        return found


def _to_columns(deployment: Deployment) -> dict[str, object]:
    return {
        "name": deployment.name,
        "versions": list(deployment.versions),
        "aliases": dict(deployment.aliases),
        "canary": deployment.canary and asdict(deployment.canary),
        "shadow": deployment.shadow and asdict(deployment.shadow),
        "former_champions": list(deployment.former_champions),
        "revision": deployment.revision,
    }


def _to_statuses(versions: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], VersionStatus]:
    return {
        (one["name"], one["version"]): VersionStatus(LoadState(one["state"]), one["reason"], one["memory_bytes"])
        for one in versions
    }
