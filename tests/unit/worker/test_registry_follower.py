"""A worker follows a real registry in SQLite; its models are fakes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from bento_service.domain.registry import Canary, Comparison, LoadState, VersionStatus
from bento_service.errors import JournalUnavailableError
from bento_service.models import registry_changes
from bento_service.models.comparisons import WaitingComparisons
from bento_service.models.registry import Transform
from bento_service.models.registry_sql import SqlRegistryStore
from bento_service.worker.registry_follower import RegistryFollower
from tests.fakes.model_control import FakeModelControl
from tests.fakes.registry import open_registry

pytestmark = pytest.mark.anyio
PATIENCE_S = 10


class Operator:
    """Changes the registry as the API does."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'journal.sqlite3'}"
        self.registry = open_registry(folder)

    def promote(self, version: str) -> None:
        self.change(partial(registry_changes.promote, name="pets", version=version))

    def load(self, version: str, *, is_retry: bool = False) -> None:
        self.change(partial(registry_changes.load, name="pets", version=version), is_retry=is_retry)

    def change(self, transform: Transform, *, is_retry: bool = False) -> None:
        self.registry.change("pets", transform, action="test", version="", actor="me", is_retry=is_retry)

    def execute(self, *statements: str) -> None:
        engine = create_engine(self.url)
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))
        engine.dispose()

    def has_followed(self, workers: int = 1) -> bool:
        wanted, reports = self.registry.deployments()["pets"], self.registry.workers()
        return [one.applied.get("pets") for one in reports] == [wanted.revision] * workers


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path)


@asynccontextmanager
async def worker(
    operator: Operator,
    control: FakeModelControl,
    *,
    serves: str | None = None,
    missing: str | None = None,
    registry: SqlRegistryStore | None = None,
) -> AsyncIterator[RegistryFollower]:
    if serves:
        await control.load("pets", serves)
    follower = RegistryFollower(
        registry or SqlRegistryStore(operator.url),
        control,
        WaitingComparisons(),
        served={"pets": serves} if serves else {},
        missing={"dogs": missing} if missing else {},
        poll_s=0.01,
    )
    await follower.start()
    yield follower
    await follower.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - the database tells nobody that it changed
            await asyncio.sleep(0.005)


async def test_a_promoted_version_is_loaded_first_and_then_takes_over(operator: Operator) -> None:
    control = FakeModelControl(held={"v2": asyncio.Event()})
    async with worker(operator, control, serves="v1"):
        operator.promote("v2")
        await until(lambda: control.loads == ["v1", "v2"])
        await until(lambda: len(operator.registry.workers()[0].versions) == 2)
        assert not operator.has_followed()
        assert "pets" not in control.routed  # as at the start: v1 answers

        control.held["v2"].set()
        await until(operator.has_followed)
        assert control.champion("pets") == "v2"
        operator.change(partial(registry_changes.roll_back, name="pets"))
        await until(lambda: control.champion("pets") == "v1")
        assert control.loads == ["v1", "v2"]


async def test_a_load_keeps_no_other_change_waiting(operator: Operator) -> None:
    control = FakeModelControl(held={"slow": asyncio.Event()})
    async with worker(operator, control, serves="v1"):
        operator.promote("v2")
        await until(operator.has_followed)
        operator.load("slow")
        await until(lambda: "slow" in control.loads)
        operator.promote("v1")
        await until(lambda: control.champion("pets") == "v1")
        control.held["slow"].set()


async def test_a_version_that_cannot_be_loaded_leaves_what_serves(operator: Operator) -> None:
    control = FakeModelControl(missing={"v2"})
    async with worker(operator, control, serves="v1"):
        operator.promote("v2")
        await until(operator.has_followed)
        assert "pets" not in control.routed
        (report,) = operator.registry.workers()
        assert report.versions["pets", "v2"] == VersionStatus(LoadState.FAILED, "v2 is not stored here")

        control.missing.clear()
        operator.load("v2", is_retry=True)
        await until(operator.has_followed)
        assert control.champion("pets") == "v2"


async def test_what_answers_in_place_of_a_failed_champion_stays_and_nobody_waits_for_its_unload(
    operator: Operator,
) -> None:
    control = FakeModelControl(missing={"v2"})
    async with worker(operator, control, serves="v1"):
        operator.promote("v2")
        operator.change(partial(registry_changes.unload, name="pets", version="v1"))
        await until(operator.has_followed)
        assert control.found["pets", "v1"].state is LoadState.READY

        control.missing.clear()
        operator.load("v2", is_retry=True)
        await until(operator.has_followed)
        assert set(control.found) == {("pets", "v2")}


async def test_a_load_knows_how_many_workers_of_the_machine_need_no_memory_for_it(operator: Operator) -> None:
    first, second = FakeModelControl(), FakeModelControl()
    async with worker(operator, first, serves="v1"):
        operator.load("v2")
        await until(operator.has_followed)
        async with worker(operator, second, serves="v1"):
            assert (second.loads[-1], second.loaded_by[-1]) == ("v2", 1)


async def test_a_version_that_fails_again_for_the_same_reason_is_logged_once(
    operator: Operator, caplog: pytest.LogCaptureFixture
) -> None:
    async with worker(operator, FakeModelControl(missing={"v2"}), serves="v1"):
        for version in ("v2", "v3"):
            operator.load(version)
            await until(operator.has_followed)
    assert caplog.text.count("v2 is not stored here") == 1


async def test_an_unloaded_version_leaves_the_routing_before_it_is_closed(operator: Operator) -> None:
    control = FakeModelControl()
    async with worker(operator, control, serves="v1"):
        canary = Canary("v2", 0.5)
        operator.change(partial(registry_changes.set_canary, name="pets", canary=canary))
        await until(lambda: "pets" in control.routed and control.routed["pets"].canary == canary)
        operator.change(partial(registry_changes.unload, name="pets", version="v2"))
        await until(operator.has_followed)
        assert control.routed["pets"].canary is None
        assert set(control.found) == {("pets", "v1")}


async def test_a_later_worker_comes_to_the_same_state_before_it_is_ready(operator: Operator) -> None:
    first, second = FakeModelControl(), FakeModelControl()
    async with worker(operator, first, serves="v1"):
        operator.promote("v2")
        await until(operator.has_followed)
        async with worker(operator, second, serves="v2"):
            assert {version for _, version in second.found} == {"v1", "v2"}
            assert operator.has_followed(workers=2)
        assert len(operator.registry.workers()) == 1


async def test_a_later_worker_that_cannot_load_the_champion_serves_the_former_one(operator: Operator) -> None:
    operator.promote("v1")
    operator.promote("v2")
    control = FakeModelControl(missing={"v2"})
    async with worker(operator, control):
        assert control.loads == ["v2", "v1"]
        assert control.champion("pets") == "v1"
        assert operator.has_followed()


async def test_a_model_that_cannot_end_here_stays_and_is_not_tried_again_and_again(
    operator: Operator, caplog: pytest.LogCaptureFixture
) -> None:
    control = FakeModelControl(default_model="pets")
    async with worker(operator, control, serves="v1") as follower:
        operator.change(partial(registry_changes.unload, name="pets", version=None))
        await until(lambda: "pets stays as it is" in caplog.text)
        operator.promote("v2")
        await until(operator.has_followed)
        assert control.champion("pets") == "v2"
        assert caplog.text.count("stays") == 1
        assert follower.deployments()["pets"].champion == "v2"


async def test_a_model_that_was_unloaded_as_a_whole_is_ended(operator: Operator) -> None:
    control = FakeModelControl()
    async with worker(operator, control):
        operator.load("v1")
        await until(operator.has_followed)
        operator.change(partial(registry_changes.unload, name="pets", version=None))
        await until(operator.has_followed)
        assert control.routed["pets"].is_empty
        assert control.found == {}


class FailingStore(SqlRegistryStore):
    """A registry whose database is out of reach while `is_out` is set."""

    is_out = False

    def revision(self) -> int:
        if self.is_out:
            raise JournalUnavailableError("the server is down", retry_after_s=1.0)
        return super().revision()


async def test_an_outage_of_the_database_changes_nothing(operator: Operator, caplog: pytest.LogCaptureFixture) -> None:
    control, registry = FakeModelControl(), FailingStore(operator.url)
    async with worker(operator, control, serves="v1", registry=registry):
        operator.promote("v2")
        await until(operator.has_followed)
        registry.is_out = True
        await until(lambda: "out of reach" in caplog.text)
        operator.promote("v1")
        assert control.champion("pets") == "v2"
        assert set(control.found) == {("pets", "v1"), ("pets", "v2")}
        registry.is_out = False
        await until(lambda: control.champion("pets") == "v1")


async def test_a_lost_database_learns_what_is_served(operator: Operator) -> None:
    control = FakeModelControl()
    async with worker(operator, control, serves="v1"):
        operator.promote("v2")
        await until(operator.has_followed)
        canary = Canary("v1", 0.5)
        operator.change(partial(registry_changes.set_canary, name="pets", canary=canary))
        await until(operator.has_followed)
        operator.execute("DELETE FROM deployments", "DELETE FROM registry_changes")
        await until(lambda: "pets" in operator.registry.deployments())
        found = operator.registry.deployments()["pets"]
        assert found.champion == control.champion("pets") == "v2"
        assert (found.versions, found.canary, found.former_champions) == (("v1", "v2"), canary, ("v1",))


async def test_every_version_of_the_settings_is_written_down(operator: Operator) -> None:
    control = FakeModelControl()
    await control.load("pets", "v2")
    async with worker(operator, control, serves="v1"):
        assert operator.registry.deployments()["pets"].versions == ("v1", "v2")
        assert set(control.found) == {("pets", "v1"), ("pets", "v2")}


async def test_a_model_without_files_is_failed_with_the_reason(operator: Operator) -> None:
    async with worker(operator, FakeModelControl(), serves="v1", missing="dogs is not stored here"):
        (report,) = operator.registry.workers()
        assert report.versions["dogs", ""] == VersionStatus(LoadState.FAILED, "dogs is not stored here")


async def test_comparisons_are_written_behind(operator: Operator) -> None:
    comparisons = WaitingComparisons()
    follower = RegistryFollower(
        SqlRegistryStore(operator.url), FakeModelControl(), comparisons, served={}, missing={}, poll_s=0.01
    )
    await follower.start()
    comparisons.add(Comparison("pets", "v1", "v2", "r", datetime.now(UTC), True, 0.1))
    await until(lambda: not comparisons.peek())
    assert operator.registry.agreement("pets", "v1", "v2").same_class == 1
    await follower.close()
