"""The calls that change what is served, over a real registry in SQLite."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from bento_service.domain.models import StoredModel
from bento_service.domain.registry import LoadState, VersionStatus, WorkerReport
from bento_service.errors import ModelLoadError
from bento_service.http.state import AppState
from bento_service.models.registry_control import RegistryControl
from bento_service.models.registry_sql import SqlRegistryStore
from bento_service.settings import Settings
from lightbox_client.contract import ModelList, ModelVersions
from tests.fakes.registry import FakeStoredVersions, open_registry
from tests.http.expectations import expect_problem
from tests.http.wiring import app_over, gateway_over

OWN = "http://127.0.0.1:3000"
STORED = FakeStoredVersions(
    {"pets": ("v3aa", "v2ab", "v1ab"), "timm/resnet50.a1_in1k": ("r1",), "lite0": ("l1",)},
    labels={"v3aa": ("cat", "dog", "horse")},
)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[SqlRegistryStore]:
    registry = open_registry(tmp_path)
    yield registry
    registry.close()


@pytest.fixture
def controlled(state: AppState, registry: SqlRegistryStore) -> AppState:
    control = RegistryControl(registry, STORED, default_model="lite0")
    return replace(state, settings=settings(), control=control)


@pytest.fixture
def client(controlled: AppState) -> TestClient:
    return client_of(controlled)


def settings(**chosen: Any) -> Settings:
    return Settings(models=("lite0",), **({"model_control": "explicit"} | chosen))


def client_of(state: AppState, base_url: str = OWN) -> TestClient:
    return TestClient(gateway_over(app_over(state)), base_url=base_url)


def change(client: TestClient, path: str, body: Mapping[str, object] | None = None) -> ModelVersions:
    response = client.post(f"/v1/models/{path}", json=body) if body is not None else client.post(f"/v1/models/{path}")
    assert response.status_code == 202, response.text
    assert response.headers["location"].endswith("/versions")
    return ModelVersions.model_validate_json(response.content)


def test_a_version_is_promoted_and_rolled_back(client: TestClient) -> None:
    assert change(client, "pets/load", {"version": "v1ab"}).aliases == {"champion": "v1ab"}
    promoted = change(client, "pets:v2/promote")
    assert promoted.aliases == {"champion": "v2ab"}
    assert promoted.former_champions == ["v1ab"]
    assert (promoted.state, promoted.workers) == ("LOADING", 0)

    assert change(client, "pets/promote", {"version": "v2ab"}).revision == promoted.revision
    assert change(client, "pets/rollback").aliases == {"champion": "v1ab"}

    shown = ModelVersions.model_validate_json(client.get("/v1/models/pets/versions").content)
    assert [(one.action, one.version, one.actor) for one in shown.changes] == [
        ("rollback", "", "testclient"),
        ("promote", "v2ab", "testclient"),
        ("load", "v1ab", "testclient"),
    ]
    assert [(one.version, one.state) for one in shown.versions] == [
        ("v1ab", "LOADING"),
        ("v2ab", "LOADING"),
        ("v3aa", "STORED"),
    ]


def test_a_name_may_hold_a_slash(client: TestClient) -> None:
    assert change(client, "timm/resnet50.a1_in1k/load").aliases == {"champion": "r1"}
    assert client.get("/v1/models/timm/resnet50.a1_in1k/versions").status_code == 200


def test_the_state_is_that_of_all_workers(client: TestClient, registry: SqlRegistryStore) -> None:
    def show() -> ModelVersions:
        return ModelVersions.model_validate_json(client.get("/v1/models/pets/versions").content)

    def report(worker: str, state: LoadState, applied: int, reason: str = "") -> None:
        statuses = {("pets", "v1ab"): VersionStatus(state, reason, 45_000_000)}
        registry.report(WorkerReport(worker, f"host-{worker}", {"pets": applied}, statuses))

    revision = change(client, "pets/load", {"version": "v1ab"}).revision
    report("a", LoadState.READY, revision)
    report("b", LoadState.LOADING, 0)
    assert (show().state, show().workers, show().workers_done) == ("LOADING", 2, 1)
    report("b", LoadState.FAILED, revision, "no files")
    assert (show().state, show().versions[0].reason) == ("FAILED", "host-b: no files")
    # A failed version is tried again when it is asked for again.
    assert change(client, "pets/load", {"version": "v1ab"}).revision > revision
    report("b", LoadState.READY, registry.revision())
    report("a", LoadState.READY, registry.revision())
    assert (show().state, show().versions[0].memory_bytes) == ("READY", 45_000_000)


def test_a_version_that_answers_in_place_of_a_failed_champion_is_not_unloaded(
    client: TestClient, registry: SqlRegistryStore
) -> None:
    for version in ("v1ab", "v2ab"):
        change(client, "pets/promote", {"version": version})
    states = {"v1ab": VersionStatus(LoadState.READY), "v2ab": VersionStatus(LoadState.FAILED, "no files")}
    statuses = {("pets", version): status for version, status in states.items()}
    registry.report(WorkerReport("a", "host-a", {}, statuses))

    refusal = expect_problem(client.post("/v1/models/pets:v1ab/unload"), 409, "version_in_use")
    assert "host-a: the champion, v2ab, is FAILED there (no files)" in refusal.detail
    change(client, "pets/rollback")
    change(client, "pets:v2ab/unload")


def test_a_model_that_is_wanted_and_not_served_is_listed_with_the_reason(controlled: AppState) -> None:
    failed = {
        ("gone", ""): VersionStatus(LoadState.FAILED, "no files"),
        ("lite0", "l1"): VersionStatus(LoadState.READY),
    }
    client = client_of(replace(controlled, version_states=lambda: failed))
    (unserved,) = ModelList.model_validate_json(client.get("/v1/models").content).not_served
    assert (unserved.name, unserved.state, unserved.reason) == ("gone", "FAILED", "no files")


def test_canary_and_shadow_are_set_and_ended(client: TestClient) -> None:
    change(client, "pets/load", {"version": "v1ab"})
    change(client, "pets/canary", {"version": "v2ab", "share": 0.1, "header": "X-User"})
    both = change(client, "pets@challenger/shadow", {"share": 1})
    assert both.canary is not None
    assert (both.canary.version, both.canary.share, both.canary.header) == ("v2ab", 0.1, "X-User")
    assert both.shadow is not None
    assert both.shadow.version == both.aliases["challenger"] == "v2ab"
    assert change(client, "pets/canary", {"share": 0}).canary is None
    assert change(client, "pets/promote").aliases == {"champion": "v2ab"}


@pytest.mark.parametrize(
    ("path", "body", "refusal"),
    [
        ("nope/load", {}, (404, "unknown_model")),
        ("..%2F..%2Fetc/load", {}, (404, "unknown_model")),
        ("pets/load", {"version": "v9"}, (404, "unknown_version")),
        ("pets@gold/promote", {}, (404, "unknown_version")),
        ("pets/load", {"version": "v"}, (409, "ambiguous_version")),
        ("pets/unload", {"version": "v1ab"}, (409, "version_in_use")),
        ("lite0/unload", {}, (409, "version_in_use")),
        ("pets/rollback", {}, (409, "no_former_champion")),
        ("pets/canary", {"version": "v3aa", "share": 0.1}, (409, "labels_differ")),
        ("pets/shadow", {"version": "v1ab", "share": 0.1}, (409, "version_in_use")),
        ("pets/canary", {"version": "v2ab", "share": 1.1}, (400, "invalid_parameter")),
        ("pets/canary", {"version": "v2ab", "share": "NaN"}, (400, "invalid_parameter")),
        ("pets/shadow", {"version": "v2ab"}, (400, "invalid_parameter")),
        ("pets/load", {"version": "../v1"}, (400, "invalid_parameter")),
        ("pets/load", {"path": "/models"}, (400, "invalid_parameter")),
        ("pets:v1/load", {"version": "v2ab"}, (400, "invalid_parameter")),
        ("pets:/unload", {}, (400, "invalid_parameter")),
        ("pets@/unload", {}, (400, "invalid_parameter")),
    ],
)
def test_a_wrong_change_is_refused_and_changes_nothing(
    client: TestClient, registry: SqlRegistryStore, path: str, body: Mapping[str, object], refusal: tuple[int, str]
) -> None:
    change(client, "pets/load", {"version": "v1ab"})
    change(client, "lite0/load")
    before = registry.revision()
    expect_problem(client.post(f"/v1/models/{path}", json=body), *refusal)
    assert registry.revision() == before


@pytest.mark.parametrize("body", [b"{", b"[]", b"[" * 9_000, b"x" * 20_000])
def test_a_body_that_is_no_small_json_object_is_refused(client: TestClient, body: bytes) -> None:
    expect_problem(client.post("/v1/models/pets/load", content=body), 400, "invalid_parameter")


def test_fixed_settings_refuse_every_change(controlled: AppState) -> None:
    client = client_of(replace(controlled, settings=settings(model_control="fixed")))
    expect_problem(client.post("/v1/models/pets/load"), 403, "model_control_fixed")


@pytest.mark.parametrize(
    ("headers", "is_refused"),
    [
        ({"Origin": "https://evil.example"}, True),
        ({"Origin": "null"}, True),
        ({"Origin": "http://[::1"}, True),
        ({"Origin": "http://127.0.0.1:8501"}, True),
        ({"Origin": "http://evil.example:3000", "Host": "evil.example:3000"}, True),
        ({"Host": "192.168.1.4:3000"}, True),
        ({"Origin": "https://ops.example"}, False),
        ({"Origin": OWN}, False),
        ({"Host": "localhost:3000"}, False),
        ({"Host": "[::1]:3000"}, False),
        ({}, False),
    ],
)
def test_pages_of_other_sites_change_nothing(
    controlled: AppState, registry: SqlRegistryStore, headers: Mapping[str, str], is_refused: bool
) -> None:
    chosen = settings(cors_origins=("*", "https://ops.example"))
    response = client_of(replace(controlled, settings=chosen)).post("/v1/models/pets:v1/load", headers=headers)
    if is_refused:
        expect_problem(response, 403, "foreign_request")
    assert (registry.revision() == 0) is is_refused


@pytest.mark.parametrize(("is_allowed", "status"), [(False, 403), (True, 202)])
def test_another_machine_changes_nothing_unless_anonymous_callers_may(
    controlled: AppState, is_allowed: bool, status: int
) -> None:
    chosen = settings(host="0.0.0.0", allow_anonymous=is_allowed)  # noqa: S104 - the text of a setting
    client = client_of(replace(controlled, settings=chosen), "http://10.0.0.7:3000")
    assert client.post("/v1/models/pets:v1/load").status_code == status


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        # A name may be one that a page of the internet has resolve to this machine.
        ("evil.example:3000", "http://evil.example:3000", 403),
        ("10.0.0.7:3000", "http://10.0.0.7:3000", 202),
        ("[fd00::7]:3000", "http://[fd00::7]:3000", 202),
        ("lightbox.example", "https://lightbox.example", 202),
        ("10.0.0.7:3000", "http://10.0.0.7:8501", 403),
        ("evil.example:3000", None, 202),
    ],
)
def test_a_page_with_a_name_changes_nothing_unless_it_is_listed(
    controlled: AppState, host: str, origin: str | None, status: int
) -> None:
    chosen = settings(host="0.0.0.0", allow_anonymous=True, cors_origins=("https://lightbox.example",))  # noqa: S104
    headers = {"Host": host} | ({"Origin": origin} if origin else {})
    answer = client_of(replace(controlled, settings=chosen)).post("/v1/models/pets:v1/load", headers=headers)
    assert answer.status_code == status


class UnreadableStore(FakeStoredVersions):
    def versions(self, name: str) -> Sequence[StoredModel]:
        raise ModelLoadError("/models cannot be read by the user with the id 1034")


def test_a_store_that_cannot_be_read_is_no_defect_and_names_no_folder(
    controlled: AppState, registry: SqlRegistryStore
) -> None:
    control = RegistryControl(registry, UnreadableStore({}), default_model="lite0")
    answer = client_of(replace(controlled, control=control)).post("/v1/models/pets/load")
    assert "/models" not in expect_problem(answer, 404, "unknown_version").detail
