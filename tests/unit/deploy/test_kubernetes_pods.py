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

IMAGE_UID = 1034
"""The user of both images."""
NAMES = ("lightbox-api", "lightbox-dashboard")
SERVICE_SETTINGS = {f"LIGHTBOX_{name.upper()}" for name in Settings.model_fields}
DASHBOARD_SETTINGS = {f"LIGHTBOX_{name.upper()}" for name in DashboardSettings.model_fields}


@pytest.mark.parametrize("name", NAMES)
def test_a_container_is_no_root_writes_no_image_and_gains_no_privileges(rendered: Rendered, name: str) -> None:
    pod, container = rendered.pod(name)["securityContext"], rendered.container(name)["securityContext"]

    assert pod["runAsNonRoot"] is True
    assert pod["runAsUser"] == pod["runAsGroup"] == IMAGE_UID
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["readOnlyRootFilesystem"] is True
    assert container["allowPrivilegeEscalation"] is False
    assert container["privileged"] is False
    assert container["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("name", NAMES)
def test_a_pod_shares_nothing_of_its_node(rendered: Rendered, name: str) -> None:
    pod = rendered.pod(name)

    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert [volume for volume in pod["volumes"] if "hostPath" in volume] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_pod_has_no_token_for_the_api(rendered: Rendered, name: str) -> None:
    pod = rendered.pod(name)

    assert pod["automountServiceAccountToken"] is False
    assert rendered.one("ServiceAccount", pod["serviceAccountName"])["automountServiceAccountToken"] is False


@pytest.mark.parametrize(("name", "folders"), [("lightbox-api", {"/tmp", "/data"}), ("lightbox-dashboard", {"/tmp"})])  # noqa: S108
def test_what_a_container_writes_to_is_bounded_and_writable(rendered: Rendered, name: str, folders: set[str]) -> None:
    volumes = {volume["name"]: volume for volume in rendered.pod(name)["volumes"]}
    mounts = rendered.container(name)["volumeMounts"]
    writable = {mount["mountPath"]: volumes[mount["name"]] for mount in mounts if not mount.get("readOnly")}

    assert set(writable) == folders
    assert all(volume["emptyDir"]["sizeLimit"] for volume in writable.values())


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


@pytest.mark.parametrize("name", NAMES)
def test_memory_is_bounded_and_asked_for(rendered: Rendered, name: str) -> None:
    resources = rendered.container(name)["resources"]

    assert {"cpu", "memory"} <= set(resources["requests"])
    assert {"cpu", "memory"} <= set(resources["limits"])


@pytest.mark.parametrize(("kustomization", "compose"), [("base", COMPOSE), ("overlays/gpu", GPU)])
def test_a_replica_may_take_as_much_memory_as_compose_gives_for_the_same(kustomization: str, compose: Path) -> None:
    limit = render(KUBERNETES / kustomization).container("lightbox-api")["resources"]["limits"]["memory"]

    assert limit.removesuffix("i").lower() == variables_of(compose)["LIGHTBOX_API_MEMORY"]


def test_a_gpus_replica_fits_a_node_of_four_cpus(gpu: Rendered) -> None:
    # The kubelet and the node's own pods keep a part of the fourth.
    assert int(gpu.container("lightbox-api")["resources"]["requests"]["cpu"]) <= 3


def test_a_replica_owns_whole_cpus_since_lanes_and_workers_are_counted_by_them(rendered: Rendered) -> None:
    resources = rendered.container("lightbox-api")["resources"]

    assert resources["requests"]["cpu"] == resources["limits"]["cpu"]
    assert resources["limits"]["cpu"].isdecimal()


def test_the_databases_addresses_come_from_a_secret_that_may_be_missing(rendered: Rendered) -> None:
    sources = {
        variable["name"]: variable["valueFrom"]["secretKeyRef"]
        for variable in rendered.container("lightbox-api")["env"]
    }

    assert sources == {
        "LIGHTBOX_JOURNAL_URL": {"name": "lightbox", "key": "journal-url", "optional": True},
        "LIGHTBOX_CACHE_URL": {"name": "lightbox", "key": "cache-url", "optional": True},
    }


def test_further_models_are_mounted_to_be_read(rendered: Rendered) -> None:
    models = [mount for mount in rendered.container("lightbox-api")["volumeMounts"] if mount["mountPath"] == "/models"]

    assert all(mount["readOnly"] for mount in models)
