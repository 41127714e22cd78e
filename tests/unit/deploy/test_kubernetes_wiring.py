"""What one object says of another holds: selectors, targets, ports, and who may talk to whom."""

from typing import Any

import pytest
import yaml

from tests.unit.deploy.kustomization import KUBERNETES, Labels, Manifest, Rendered, selects

PAIRS = [("lightbox-api", 3000), ("lightbox-dashboard", 8501)]
ADAPTER_VALUES = KUBERNETES / "components" / "queue-wait" / "prometheus-adapter-values.yaml"


@pytest.mark.parametrize(("name", "port"), PAIRS)
def test_a_service_reaches_its_own_pods_and_no_others(rendered: Rendered, name: str, port: int) -> None:
    spec = rendered.one("Service", name)["spec"]
    [listed] = spec["ports"]
    [opened] = rendered.container(name)["ports"]
    reached = [other for other, _ in PAIRS if selects({"matchLabels": spec["selector"]}, rendered.pod_labels(other))]

    assert reached == [name]
    assert (listed["port"], listed["targetPort"]) == (port, opened["name"])
    assert opened["containerPort"] == port


@pytest.mark.parametrize(("name", "port"), PAIRS)
def test_a_deployment_manages_the_pods_that_it_makes(rendered: Rendered, name: str, port: int) -> None:
    spec = rendered.one("Deployment", name)["spec"]

    assert selects(spec["selector"], rendered.pod_labels(name))
    for constraint in rendered.pod(name).get("topologySpreadConstraints", ()):
        assert selects(constraint["labelSelector"], rendered.pod_labels(name))


@pytest.mark.parametrize(("name", "port"), PAIRS)
def test_every_probe_asks_the_port_that_the_container_opens(rendered: Rendered, name: str, port: int) -> None:
    container = rendered.container(name)
    asked = {container[kind]["httpGet"]["port"] for kind in ("startupProbe", "readinessProbe", "livenessProbe")}

    assert asked == {container["ports"][0]["name"]}


def test_the_autoscaler_scales_the_service_and_nothing_else_sets_its_replicas(rendered: Rendered) -> None:
    target = rendered.one("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    deployment = rendered.one(target["kind"], target["name"])

    assert target["apiVersion"] == deployment["apiVersion"]
    assert deployment["metadata"]["name"] == "lightbox-api"
    assert "replicas" not in deployment["spec"]


def test_nodes_are_drained_of_the_service_one_replica_at_a_time(rendered: Rendered) -> None:
    spec = rendered.one("PodDisruptionBudget")["spec"]

    assert selects(spec["selector"], rendered.pod_labels("lightbox-api"))
    assert not selects(spec["selector"], rendered.pod_labels("lightbox-dashboard"))
    # Whatever the number of replicas is, one may go: else a node with a lone replica could not be drained.
    assert spec["maxUnavailable"] == 1


PROMETHEUS = {"app.kubernetes.io/name": "prometheus"}
GRANTED = {"lightbox/access": "true"}


def lets_in(policy: Manifest, port: int, *, pod: Labels, namespace: Labels | None) -> bool:
    """Whether pods with these labels, in a namespace with those or in the policy's own if None, reach the port."""

    def is_from(peer: dict[str, Any]) -> bool:
        if "namespaceSelector" not in peer:
            return namespace is None and selects(peer["podSelector"], pod)
        return selects(peer["namespaceSelector"], namespace or {}) and selects(peer.get("podSelector", {}), pod)

    return any(
        any(is_from(peer) for peer in rule["from"]) and {"protocol": "TCP", "port": port} in rule["ports"]
        for rule in policy["spec"]["ingress"]
    )


@pytest.mark.parametrize(
    ("pod", "namespace", "is_let_in"),
    [
        pytest.param(PROMETHEUS, {"team": "monitoring"}, True, id="Prometheus in its namespace"),
        pytest.param(GRANTED, {"team": "shop"}, True, id="a pod that was granted access"),
        pytest.param({"app": "ingress"}, GRANTED, True, id="a namespace that was granted access"),
        pytest.param({"app": "shop"}, {"team": "shop"}, False, id="any other pod"),
        pytest.param({"app": "shop"}, None, False, id="any other pod beside it"),
    ],
)
def test_the_service_lets_in_whom_it_should(
    rendered: Rendered, pod: Labels, namespace: Labels | None, is_let_in: bool
) -> None:
    assert lets_in(rendered.one("NetworkPolicy"), 3000, pod=pod, namespace=namespace) is is_let_in


def test_the_dashboard_reaches_the_service_from_its_own_namespace_only(rendered: Rendered) -> None:
    policy, dashboard = rendered.one("NetworkPolicy"), rendered.pod_labels("lightbox-dashboard")

    assert lets_in(policy, 3000, pod=dashboard, namespace=None)
    assert not lets_in(policy, 3000, pod=dashboard, namespace={"team": "other"})


@pytest.mark.parametrize(("name", "port"), PAIRS)
def test_each_policy_is_about_its_own_pods_and_both_directions(rendered: Rendered, name: str, port: int) -> None:
    spec = rendered.one("NetworkPolicy", name)["spec"]
    held = [other for other, _ in PAIRS if selects(spec["podSelector"], rendered.pod_labels(other))]

    assert held == [name]
    assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
    assert lets_in(rendered.one("NetworkPolicy", name), port, pod=GRANTED, namespace={})


def test_the_dashboard_may_call_the_service(rendered: Rendered) -> None:
    [to_service] = [
        rule for rule in rendered.one("NetworkPolicy", "lightbox-dashboard")["spec"]["egress"] if "to" in rule
    ]
    [peer] = to_service["to"]

    assert selects(peer["podSelector"], rendered.pod_labels("lightbox-api"))
    assert to_service["ports"] == [{"protocol": "TCP", "port": 3000}]


def test_prometheus_finds_the_service_by_its_monitor(queue_wait: Rendered) -> None:
    monitor, service = queue_wait.one("ServiceMonitor")["spec"], queue_wait.one("Service")
    [endpoint] = monitor["endpoints"]

    assert selects(monitor["selector"], service["metadata"]["labels"])
    assert not selects(monitor["selector"], queue_wait.one("Service", "lightbox-dashboard")["metadata"]["labels"])
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert service["metadata"]["labels"][monitor["jobLabel"]] == "lightbox"


def test_the_autoscaler_asks_for_the_queue_wait_by_the_name_that_the_adapter_gives_it(queue_wait: Rendered) -> None:
    metrics = queue_wait.one("HorizontalPodAutoscaler")["spec"]["metrics"]
    [rule] = yaml.safe_load(ADAPTER_VALUES.read_text())["rules"]["custom"]

    assert [metric["type"] for metric in metrics] == ["Resource", "Pods"]
    assert metrics[1]["pods"]["metric"]["name"] == rule["name"]["as"]
