"""The pods run with little power, with settings that exist, and with time to finish what they admitted."""

import re
from pathlib import Path

import pytest

from bench.history import NOW, make_receipts
from bento_service.cli.up import STOP_MARGIN_S
from bento_service.journal.store import SqlJournalStore
from bento_service.settings import Settings
from dashboard.settings import DashboardSettings
from tests.unit.deploy.compose_files import COMPOSE, GPU, variables_of
from tests.unit.deploy.kustomization import KUBERNETES, Rendered, render

NAMES = ("lightbox-api", "lightbox-dashboard")
SERVICE_SETTINGS = {f"LIGHTBOX_{name.upper()}" for name in Settings.model_fields}
DASHBOARD_SETTINGS = {f"LIGHTBOX_{name.upper()}" for name in DashboardSettings.model_fields}


@pytest.mark.parametrize("name", NAMES)
def test_a_namespace_that_enforces_the_restricted_standard_admits_the_pods(rendered: Rendered, name: str) -> None:
    pod, container = rendered.pod(name), rendered.container(name)["securityContext"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["allowPrivilegeEscalation"] is False
    assert container["capabilities"] == {"drop": ["ALL"]}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert [volume for volume in pod["volumes"] if "hostPath" in volume] == []


def test_the_journals_volume_has_room_for_the_receipts_that_are_kept(base: Rendered, tmp_path: Path) -> None:
    file, written = tmp_path / "journal.sqlite3", 10_000
    store = SqlJournalStore(f"sqlite:///{file}", now=lambda: NOW)
    store.migrate()
    store.append(list(make_receipts(NOW, minutes=10, receipts_a_minute=written // 10, seed=1)))
    store.close()
    [volume] = [volume for volume in base.pod("lightbox-api")["volumes"] if volume["name"] == "data"]
    room_bytes = int(volume["emptyDir"]["sizeLimit"].removesuffix("Gi")) * 2**30
    kept_bytes = file.stat().st_size / written * Settings.model_fields["journal_max_rows"].default

    # Half as much again is for the rollups of 400 days and for the write-ahead log.
    assert room_bytes > 1.5 * kept_bytes


def test_the_journals_folder_is_the_one_that_is_mounted(rendered: Rendered) -> None:
    mounted = {mount["mountPath"] for mount in rendered.container("lightbox-api")["volumeMounts"]}

    assert rendered.environment("lightbox-api")["LIGHTBOX_DATA_DIR"] in mounted


def test_every_variable_is_a_setting(rendered: Rendered) -> None:
    assert set(rendered.environment("lightbox-api")) - SERVICE_SETTINGS == set()
    assert set(rendered.environment("lightbox-dashboard")) - DASHBOARD_SETTINGS == set()


def settings_in(rendered: Rendered, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in SERVICE_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    for name, value in rendered.environment("lightbox-api").items():
        if value:
            monkeypatch.setenv(name, value)
    return Settings()


def test_service_and_dashboard_accept_their_settings(rendered: Rendered, monkeypatch: pytest.MonkeyPatch) -> None:
    settings_in(rendered, monkeypatch)
    for name, value in rendered.environment("lightbox-dashboard").items():
        monkeypatch.setenv(name, value)
    service = rendered.one("Service")["metadata"]["name"]
    [port] = rendered.one("Service")["spec"]["ports"]

    assert DashboardSettings().url == f"http://{service}:{port['port']}"


def test_a_pod_has_time_to_leave_the_service_and_to_finish_what_it_admitted(
    rendered: Rendered, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod = rendered.pod("lightbox-api")
    needed_s = settings_in(rendered, monkeypatch).stop_timeout_s + STOP_MARGIN_S

    assert pod["terminationGracePeriodSeconds"] >= seconds_before_stop(rendered, "lightbox-api") + needed_s


@pytest.mark.parametrize("name", NAMES)
def test_a_pod_goes_on_answering_until_the_cluster_knows_that_it_leaves(rendered: Rendered, name: str) -> None:
    grace_s = rendered.pod(name)["terminationGracePeriodSeconds"]

    assert 5 <= seconds_before_stop(rendered, name) < grace_s


def seconds_before_stop(rendered: Rendered, name: str) -> float:
    """How long preStop waits; it needs nothing but Python, which both images have."""
    [program, _, script] = rendered.container(name)["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "python"
    found = re.fullmatch(r"import time; time\.sleep\((\d+)\)", script)
    assert found
    return float(found[1])


@pytest.mark.parametrize("name", NAMES)
def test_no_variable_of_kubernetes_own_is_taken_for_a_setting(rendered: Rendered, name: str) -> None:
    # A Service `a-b` gives every pod of its namespace A_B_PORT and A_B_SERVICE_HOST, unless links are off.
    links = {
        f"{service['metadata']['name'].upper().replace('-', '_')}_{ending}"
        for service in rendered.all_of("Service")
        for ending in ("PORT", "SERVICE_HOST", "SERVICE_PORT")
    }

    assert links & SERVICE_SETTINGS == {"LIGHTBOX_DASHBOARD_PORT"}
    assert rendered.pod(name)["enableServiceLinks"] is False


@pytest.mark.parametrize(("kustomization", "compose"), [("base", COMPOSE), ("overlays/gpu", GPU)])
def test_a_replica_may_take_as_much_memory_as_compose_gives_for_the_same(kustomization: str, compose: Path) -> None:
    limit = render(KUBERNETES / kustomization).container("lightbox-api")["resources"]["limits"]["memory"]

    assert limit.removesuffix("i").lower() == variables_of(compose)["LIGHTBOX_API_MEMORY"]
