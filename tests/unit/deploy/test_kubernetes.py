"""The kustomizations: what a cluster's API accepts, and what one object says of another or of the settings."""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from bench.history import NOW, make_receipts
from bento_service.cli.up import STOP_MARGIN_S
from bento_service.journal.store import SqlJournalStore
from bento_service.settings import Settings
from dashboard.settings import DashboardSettings
from docs.prometheus_rule import RESOURCE, RULES, as_resource
from tests.unit.deploy.compose_files import COMPOSE, GPU, variables_of
from tests.unit.deploy.kustomization import KUBERNETES, KUSTOMIZATIONS, Labels, Manifest, Rendered, render, selects

BASE, GPU_OVERLAY, QUEUE_WAIT = (KUBERNETES / name for name in ("base", "overlays/gpu", "overlays/queue-wait"))
OLDEST, NEWEST = "1.29", kubernetes_validate.latest_version()
OF_THE_PROMETHEUS_OPERATOR = "monitoring.coreos.com/v1"
ADAPTER_VALUES = KUBERNETES / "components" / "queue-wait" / "prometheus-adapter-values.yaml"
PORTS = {"lightbox-api": 3000, "lightbox-dashboard": 8501}
SERVICE_SETTINGS = {f"LIGHTBOX_{name.upper()}" for name in Settings.model_fields}
DASHBOARD_SETTINGS = {f"LIGHTBOX_{name.upper()}" for name in DashboardSettings.model_fields}
every_deployment = pytest.mark.parametrize("name", PORTS)


def test_every_folder_that_can_be_applied_is_tested() -> None:
    folders = {path.parent for path in KUBERNETES.rglob("kustomization.yaml")}
    applied = {str(folder.relative_to(KUBERNETES)) for folder in folders if folder.parent.name != "components"}

    assert applied == set(KUSTOMIZATIONS)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_the_api_accepts_every_object(rendered: Rendered, version: str) -> None:
    for manifest in rendered.objects:
        if manifest["apiVersion"] != OF_THE_PROMETHEUS_OPERATOR:
            kubernetes_validate.validate(manifest, version, strict=True)


@every_deployment
def test_the_restricted_standard_admits_the_pods(rendered: Rendered, name: str) -> None:
    pod, container = rendered.template(name)["spec"], rendered.container(name)["securityContext"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["allowPrivilegeEscalation"] is False
    assert container["capabilities"] == {"drop": ["ALL"]}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert [volume for volume in pod["volumes"] if "hostPath" in volume] == []


@every_deployment
def test_service_probes_and_policy_match_their_deployment(rendered: Rendered, name: str) -> None:
    labels = {each: rendered.template(each)["metadata"]["labels"] for each in PORTS}
    deployment, service, policy = (
        rendered.one(kind, name)["spec"] for kind in ("Deployment", "Service", "NetworkPolicy")
    )
    container = rendered.container(name)
    [listed], [opened] = service["ports"], container["ports"]
    selectors = [deployment["selector"], {"matchLabels": service["selector"]}, policy["podSelector"]]
    spread = deployment["template"]["spec"].get("topologySpreadConstraints", ())

    for selector in (*selectors, *(constraint["labelSelector"] for constraint in spread)):
        assert [each for each in PORTS if selects(selector, labels[each])] == [name]
    assert listed["port"] == opened["containerPort"] == PORTS[name]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] == listed["targetPort"] == opened["name"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}


def test_autoscaler_and_disruption_budget_are_about_the_service(rendered: Rendered) -> None:
    target = rendered.one("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    deployment = rendered.one(target["kind"], target["name"])
    disruption = rendered.one("PodDisruptionBudget")["spec"]
    budget = disruption["selector"]

    assert deployment["metadata"]["name"] == "lightbox-api"
    assert "replicas" not in deployment["spec"], "each `kubectl apply` would undo the autoscaler's choice"
    assert [name for name in PORTS if selects(budget, rendered.template(name)["metadata"]["labels"])] == [
        "lightbox-api"
    ]
    assert disruption["maxUnavailable"] == 1, "a node with a lone replica could not be drained"


GRANTED = {"lightbox/access": "true"}
PROMETHEUS = {"app.kubernetes.io/name": "prometheus"}


def lets_in(rules: list[Any], port: int, *, pod: Labels, namespace: Labels | None) -> bool:
    """Whether pods with these labels, in a namespace with those or in the policy's own if None, reach the port."""

    def is_from(peer: Manifest) -> bool:
        if "namespaceSelector" not in peer:
            return namespace is None and selects(peer["podSelector"], pod)
        return selects(peer["namespaceSelector"], namespace or {}) and selects(peer.get("podSelector", {}), pod)

    return any(
        any(is_from(peer) for peer in rule["from"]) and {"protocol": "TCP", "port": port} in rule["ports"]
        for rule in rules
    )


@pytest.mark.parametrize(
    ("pod", "namespace", "is_let_in"),
    [
        pytest.param(PROMETHEUS, {"team": "monitoring"}, True, id="Prometheus in its namespace"),
        pytest.param(GRANTED, {"team": "shop"}, True, id="a pod with access"),
        pytest.param({"app": "ingress"}, GRANTED, True, id="a namespace with access"),
        pytest.param({"app": "shop"}, {"team": "shop"}, False, id="another pod"),
        pytest.param({"app": "shop"}, None, False, id="another pod of the same namespace"),
        pytest.param("lightbox-dashboard", None, True, id="the dashboard"),
        pytest.param("lightbox-dashboard", {"team": "other"}, False, id="a dashboard of another namespace"),
    ],
)
def test_the_service_is_reached_by_those_with_access_only(
    rendered: Rendered, pod: Labels | str, namespace: Labels | None, is_let_in: bool
) -> None:
    labels = rendered.template(pod)["metadata"]["labels"] if isinstance(pod, str) else pod
    ingress = rendered.one("NetworkPolicy")["spec"]["ingress"]

    assert lets_in(ingress, 3000, pod=labels, namespace=namespace) is is_let_in


def test_the_dashboard_knows_and_may_call_the_service(rendered: Rendered, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = rendered.one("NetworkPolicy", "lightbox-dashboard")["spec"]["egress"]
    peers = [peer for rule in rules if {"protocol": "TCP", "port": 3000} in rule["ports"] for peer in rule["to"]]
    for variable, value in rendered.environment("lightbox-dashboard").items():
        monkeypatch.setenv(variable, value)

    assert any(selects(peer["podSelector"], rendered.template("lightbox-api")["metadata"]["labels"]) for peer in peers)
    assert DashboardSettings().url == f"http://{rendered.one('Service')['metadata']['name']}:3000"


def test_variables_are_settings_and_the_data_folder_is_mounted(rendered: Rendered) -> None:
    given = rendered.environment("lightbox-api")
    mounted = {mount["mountPath"] for mount in rendered.container("lightbox-api")["volumeMounts"]}

    assert given.keys() <= SERVICE_SETTINGS
    assert rendered.environment("lightbox-dashboard").keys() <= DASHBOARD_SETTINGS
    assert given["LIGHTBOX_DATA_DIR"] in mounted


@every_deployment
def test_no_variable_that_kubernetes_adds_is_taken_for_a_setting(rendered: Rendered, name: str) -> None:
    # Links would set LIGHTBOX_DASHBOARD_PORT, after the Service lightbox-dashboard.
    assert rendered.template(name)["spec"]["enableServiceLinks"] is False


@every_deployment
def test_a_pod_has_time_to_leave_the_service_and_to_finish(
    rendered: Rendered, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    [*_, script] = rendered.container(name)["lifecycle"]["preStop"]["exec"]["command"]
    [sleep_s] = re.findall(r"time\.sleep\((\d+)\)", script)
    for variable, value in rendered.environment("lightbox-api").items():
        if value:
            monkeypatch.setenv(variable, value)
    needed_s = Settings().stop_timeout_s + STOP_MARGIN_S if name == "lightbox-api" else 1

    assert int(sleep_s) >= 5, "until then the cluster may still send requests"
    assert rendered.template(name)["spec"]["terminationGracePeriodSeconds"] >= int(sleep_s) + needed_s


def test_the_journals_volume_has_room_for_all_receipts(tmp_path: Path) -> None:
    file, written = tmp_path / "journal.sqlite3", 10_000
    store = SqlJournalStore(f"sqlite:///{file}", now=lambda: NOW)
    store.migrate()
    store.append(list(make_receipts(NOW, minutes=10, receipts_a_minute=written // 10, seed=1)))
    store.close()
    [volume] = [each for each in render(BASE).template("lightbox-api")["spec"]["volumes"] if each["name"] == "data"]
    room_bytes = int(volume["emptyDir"]["sizeLimit"].removesuffix("Gi")) * 2**30
    kept_bytes = file.stat().st_size / written * Settings.model_fields["journal_max_rows"].default

    # Half as much again is for the rollups of 400 days and for the write-ahead log.
    assert room_bytes > 1.5 * kept_bytes


@pytest.mark.parametrize(("kustomization", "compose"), [(BASE, COMPOSE), (GPU_OVERLAY, GPU)])
def test_a_replica_has_as_much_memory_as_with_compose(kustomization: Path, compose: Path) -> None:
    limit = render(kustomization).container("lightbox-api")["resources"]["limits"]["memory"]

    assert limit.removesuffix("i").lower() == variables_of(compose)["LIGHTBOX_API_MEMORY"]


def test_prometheus_finds_the_service_by_its_monitor() -> None:
    queue_wait = render(QUEUE_WAIT)
    monitor, service = queue_wait.one("ServiceMonitor")["spec"], queue_wait.one("Service")
    [endpoint] = monitor["endpoints"]

    assert selects(monitor["selector"], service["metadata"]["labels"])
    assert not selects(monitor["selector"], queue_wait.one("Service", "lightbox-dashboard")["metadata"]["labels"])
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert service["metadata"]["labels"][monitor["jobLabel"]] == "lightbox"


def test_the_rules_resource_is_written_from_the_rules() -> None:
    assert RESOURCE.read_text() == as_resource(RULES.read_text()), "run `make docs`"


def test_the_autoscalers_metric_is_recorded_for_each_pod() -> None:
    queue_wait = render(QUEUE_WAIT)
    [adapter] = yaml.safe_load(ADAPTER_VALUES.read_text())["rules"]["custom"]
    [series] = re.findall(r'__name__="([^"]+)"', adapter["seriesQuery"])
    groups = queue_wait.one("PrometheusRule", "lightbox")["spec"]["groups"]
    [recording] = [rule for group in groups for rule in group["rules"] if rule.get("record") == series]
    groupings = re.findall(r"by \(([^)]*)\)", recording["expr"])
    metrics = queue_wait.one("HorizontalPodAutoscaler")["spec"]["metrics"]
    [metric] = [metric["pods"]["metric"]["name"] for metric in metrics if metric["type"] == "Pods"]

    assert re.fullmatch(adapter["name"]["matches"], series)
    assert metric == adapter["name"]["as"]
    assert groupings
    assert all({"namespace", "pod"} <= set(grouping.replace(" ", "").split(",")) for grouping in groupings)


def test_no_worker_counts_as_lost_while_a_start_may_last() -> None:
    probe = render(GPU_OVERLAY).container("lightbox-api")["startupProbe"]
    groups = render(QUEUE_WAIT).one("PrometheusRule", "lightbox")["spec"]["groups"]
    [lost] = [rule for group in groups for rule in group["rules"] if rule.get("alert") == "LightboxWorkerLost"]
    [age_s] = re.findall(r"time\(\) - lightbox_start_time_seconds > (\d+)", lost["expr"])

    assert int(age_s) >= probe["periodSeconds"] * probe["failureThreshold"]
