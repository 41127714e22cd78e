"""`lightbox models promote` and its siblings against the real HTTP application over a registry in SQLite."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bento_service.cli.app import app
from bento_service.domain.registry import LoadState, VersionStatus, WorkerReport
from bento_service.models.registry_control import RegistryControl
from bento_service.models.registry_sql import SqlRegistryStore
from tests.fakes.registry import FakeStoredVersions, open_registry
from tests.fakes.service import FakeService


@dataclass
class Controlled:
    """A service whose registry has one worker, which has reported `state` for every version and every revision."""

    service: FakeService
    registry: SqlRegistryStore

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, ["models", *arguments], env={"LIGHTBOX_URL": self.service.url})

    def report(self, state: LoadState, reason: str = "", versions: tuple[str, ...] = ("v1", "v2")) -> None:
        statuses = {("pets", version): VersionStatus(LoadState.READY, "", 45_000_000) for version in ("v1", "v2")}
        statuses |= {("pets", version): VersionStatus(state, reason, 45_000_000) for version in versions}
        self.registry.report(WorkerReport("a", "host", {"pets": 1_000}, statuses))


@pytest.fixture
def controlled(tmp_path: Path) -> Iterator[Controlled]:
    registry = open_registry(tmp_path)
    control = RegistryControl(registry, FakeStoredVersions({"pets": ("v2", "v1")}), default_model="lite0")
    with FakeService(control=control) as service:
        yield Controlled(service, registry)
    registry.close()


def test_a_promotion_waits_for_the_workers_and_shows_their_state(controlled: Controlled) -> None:
    controlled.report(LoadState.READY)
    assert controlled.run("load", "pets:v1").exit_code == 0
    promoted = controlled.run("promote", "pets")
    assert promoted.exit_code == 0, promoted.output
    heading, _, v1, v2 = promoted.stdout.splitlines()
    assert heading == f"pets: READY, revision {controlled.registry.revision()}, 1 of 1 workers done"
    assert v1.split() == ["v1", "READY", "45", "MB"]
    assert v2.split() == ["v2", "READY", "champion", "45", "MB"]
    assert "champion" in controlled.run("rollback", "pets").stdout.splitlines()[2]


def test_a_load_that_failed_is_exit_code_1_with_the_reason(controlled: Controlled) -> None:
    controlled.report(LoadState.FAILED, "it would not fit into memory")
    failed = controlled.run("load", "pets:v1")
    assert failed.exit_code == 1
    assert "host: it would not fit into memory" in failed.stderr


def test_a_version_that_failed_before_does_not_fail_the_change_of_another(controlled: Controlled) -> None:
    controlled.report(LoadState.FAILED, "no files", versions=("v2",))
    controlled.run("load", "pets:v1")
    assert controlled.run("load", "pets").exit_code == 1
    for arguments in (["load", "pets:v1"], ["promote", "pets:v1"]):
        changed = controlled.run(*arguments)
        assert changed.exit_code == 0, changed.output
        assert "pets:v2 is FAILED since an earlier change: host: no files" in changed.stderr
    assert controlled.run("promote", "pets:v2").exit_code == 1
    assert controlled.run("rollback", "pets").exit_code == 0


def test_a_header_that_is_none_is_refused_in_one_line(controlled: Controlled) -> None:
    controlled.run("load", "pets:v1", "--no-wait")
    refused = controlled.run("canary", "pets:v2", "--share", "0.1", "--header", "X User")
    assert refused.exit_code == 2
    assert "header" in refused.stderr
    assert "Traceback" not in refused.output
    assert "pydantic" not in refused.output


def test_nothing_is_waited_for_if_nobody_wants_to(controlled: Controlled) -> None:
    begun = controlled.run("canary", "pets:v2", "--share", "0.1", "--no-wait")
    assert begun.exit_code == 2  # nothing of it is loaded yet
    controlled.run("load", "pets:v1", "--no-wait")
    begun = controlled.run("canary", "pets:v2", "--share", "0.1", "--no-wait")
    assert begun.exit_code == 0
    assert begun.stdout.startswith("pets: LOADING")
    assert "canary 10%" in begun.stdout
