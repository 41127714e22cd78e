"""The contract of `RegistryStore`, on SQLite and a real PostgreSQL."""

import multiprocessing
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from bento_service.domain.registry import (
    CHAMPION,
    Agreement,
    Canary,
    Comparison,
    Deployment,
    LoadState,
    Shadow,
    VersionStatus,
    WorkerReport,
)
from bento_service.errors import JournalUnavailableError, NoFormerChampionError, VersionInUseError
from bento_service.journal.store import SqlJournalStore
from bento_service.models import registry_changes
from bento_service.models.registry import REPORT_VALID_S, Transform
from bento_service.models.registry_sql import SqlRegistryStore
from tests.fakes.registry import open_registry
from tests.unit.journal.receipts import NOW

PROMOTIONS = 8


@pytest.fixture
def registry(store: SqlJournalStore, journal_url: str) -> Iterator[SqlRegistryStore]:
    """A registry in the database that the journal has migrated."""
    registry = SqlRegistryStore(journal_url)
    yield registry
    registry.close()


def change(registry: SqlRegistryStore, transform: Transform, version: str = "", action: str = "test") -> Deployment:
    return registry.change("pets", transform, action=action, version=version, actor="127.0.0.1")


def promote(registry: SqlRegistryStore, version: str) -> Deployment:
    return change(registry, partial(registry_changes.promote, name="pets", version=version), version, "promote")


def test_a_deployment_comes_back_with_all_its_routing(registry: SqlRegistryStore) -> None:
    promote(registry, "v1")
    canary, shadow = Canary("v2", 0.05, "X-User"), Shadow("v2", 1.0)
    change(registry, partial(registry_changes.set_canary, name="pets", canary=canary), "v2")
    wanted = change(registry, partial(registry_changes.set_shadow, name="pets", shadow=shadow), "v2")

    assert registry.deployments() == {"pets": wanted}
    assert (wanted.versions, wanted.canary, wanted.shadow) == (("v1", "v2"), canary, shadow)
    assert wanted.aliases == {CHAMPION: "v1", "challenger": "v2"}


def test_revisions_grow_over_all_models_and_stay_where_nothing_changes(registry: SqlRegistryStore) -> None:
    assert registry.revision() == 0
    first = promote(registry, "v1")
    load = partial(registry_changes.load, name="cars", version="v1")
    second = registry.change("cars", load, action="load", version="v1", actor="me")
    assert 0 < first.revision < second.revision == registry.revision()

    assert promote(registry, "v1") == first
    assert registry.revision() == second.revision
    retried = registry.change("cars", load, action="load", version="v1", actor="me", is_retry=True)
    assert retried.revision == registry.revision() > second.revision


def test_rolling_back_goes_through_all_former_champions(registry: SqlRegistryStore) -> None:
    for version in ("v1", "v2", "v3"):
        promote(registry, version)
    roll_back = partial(registry_changes.roll_back, name="pets")
    assert [change(registry, roll_back, action="rollback").champion for _ in range(2)] == ["v2", "v1"]
    with pytest.raises(NoFormerChampionError):
        change(registry, roll_back)

    assert registry.deployments()["pets"].versions == ("v1", "v2", "v3")
    history = registry.changes("pets", limit=4)
    assert [(one.action, one.version) for one in history] == [("rollback", ""), ("rollback", "")] + [
        ("promote", version) for version in ("v3", "v2")
    ]


@pytest.mark.parametrize(
    "damage",
    [
        "versions = 'null'",
        "aliases = '{}'",
        'aliases = \'{"champion": "v9"}\'',
        "canary = '{\"share\": 1}'",
        "former_champions = '{}'",
    ],
)
def test_a_damaged_row_is_named_and_changes_nothing(registry: SqlRegistryStore, journal_url: str, damage: str) -> None:
    promote(registry, "v1")
    engine = create_engine(journal_url)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE deployments SET {damage}"))  # noqa: S608 - the test's own text
    engine.dispose()
    with pytest.raises(JournalUnavailableError, match="the row of 'pets' in `deployments` is damaged"):
        registry.deployments()
    with pytest.raises(JournalUnavailableError):
        promote(registry, "v2")
    assert [one.version for one in registry.changes("pets", limit=9)] == ["v1"]


def test_text_that_is_no_json_is_damage_too(tmp_path: Path) -> None:
    # SQLite alone: PostgreSQL takes none.
    registry = open_registry(tmp_path)
    promote(registry, "v1")
    with closing(sqlite3.connect(tmp_path / "journal.sqlite3")) as connection, connection:
        connection.execute("UPDATE deployments SET aliases = '{'")
    for use in (registry.deployments, partial(promote, registry, "v2")):
        with pytest.raises(JournalUnavailableError, match="`deployments` is damaged"):
            use()
    registry.close()


def test_a_refused_change_leaves_nothing_behind(registry: SqlRegistryStore) -> None:
    before = promote(registry, "v1")
    with pytest.raises(VersionInUseError):
        change(registry, partial(registry_changes.unload, name="pets", version="v1"))
    assert registry.deployments() == {"pets": before}
    assert len(registry.changes("pets", limit=9)) == 1


def test_an_unloaded_model_stays_in_the_registry_without_versions(registry: SqlRegistryStore) -> None:
    promote(registry, "v1")
    change(registry, partial(registry_changes.unload, name="pets", version=None), action="unload")
    assert registry.deployments()["pets"].is_empty


def promote_often(url: str, writer: int) -> None:
    """Promote versions of this writer's own; one of several processes."""
    registry = SqlRegistryStore(url)
    for number in range(PROMOTIONS):
        promote(registry, f"{writer}-{number}")
    registry.close()


def test_processes_that_promote_at_once_lose_no_update(registry: SqlRegistryStore, journal_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=promote_often, args=(journal_url, number)) for number in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]

    deployment = registry.deployments()["pets"]
    history = registry.changes("pets", limit=100)
    assert len(deployment.versions) == len(history) == 2 * PROMOTIONS
    # Each took the place of the one before it, in one order that all agree on.
    assert (deployment.champion, *deployment.former_champions) == tuple(one.version for one in history)
    assert deployment.revision == registry.revision() == history[0].revision


def test_a_report_replaces_the_one_before_and_ends_with_its_worker(registry: SqlRegistryStore) -> None:
    loading = {("pets", "v1"): VersionStatus(LoadState.LOADING)}
    ready = {("pets", "v1"): VersionStatus(LoadState.READY, memory_bytes=45_000_000)}
    failed = {("pets", "v1"): VersionStatus(LoadState.FAILED, "no files")}
    registry.report(WorkerReport("a", "host-1", {}, loading))
    registry.report(WorkerReport("b", "host-2", {"pets": 1}, failed))
    registry.report(WorkerReport("a", "host-1", {"pets": 2}, ready))
    assert registry.workers() == (
        WorkerReport("a", "host-1", {"pets": 2}, ready),
        WorkerReport("b", "host-2", {"pets": 1}, failed),
    )
    registry.withdraw("a")
    assert [worker.worker_id for worker in registry.workers()] == ["b"]


def test_a_worker_that_no_longer_reports_is_forgotten(tmp_path: Path) -> None:
    # SQLite alone: PostgreSQL asks its own clock.
    now = [NOW]
    registry = SqlRegistryStore(f"sqlite:///{tmp_path / 'journal.sqlite3'}", now=lambda: now[0])
    registry.migrate()
    registry.report(WorkerReport("dead", "host", {}, {}))
    now[0] += timedelta(seconds=REPORT_VALID_S + 1)
    assert registry.workers() == ()
    registry.report(WorkerReport("new", "host", {}, {}))
    assert [worker.worker_id for worker in registry.workers()] == ["new"]
    registry.close()


def test_comparisons_add_up_to_an_agreement_and_are_pruned(registry: SqlRegistryStore, store: SqlJournalStore) -> None:
    def compare(age: timedelta, is_same: bool, difference: float) -> Comparison:
        return Comparison("pets", "v1", "v2", "r", NOW - age, is_same, difference)

    registry.add_comparisons(
        [
            compare(timedelta(0), True, 0.1),
            compare(timedelta(0), False, 0.5),
            compare(timedelta(days=9), True, 0.0),
        ]
    )
    found = registry.agreement("pets", "v1", "v2")
    assert (found.compared, found.same_class, found.max_difference) == (3, 2, 0.5)
    assert found.mean_difference == pytest.approx(0.2)
    store.prune(now=NOW, steady_for=timedelta(days=9), retention=timedelta(days=1), max_receipts=9, limit=9)
    assert registry.agreement("pets", "v1", "v2").compared == 2
    registry.add_comparisons([compare(timedelta(0), True, 0.1)])
    store.prune(now=NOW, steady_for=timedelta(days=9), retention=timedelta(days=1), max_receipts=1, limit=9)
    assert registry.agreement("pets", "v1", "v2").compared == 1
    assert registry.agreement("pets", "v2", "v1") == Agreement()
