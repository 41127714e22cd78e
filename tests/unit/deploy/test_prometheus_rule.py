"""The operator's rules are Prometheus's, and have what the autoscaler is told by."""

import re

import yaml

from docs.prometheus_rule import RESOURCE, RULES, as_resource
from tests.unit.deploy.kustomization import KUBERNETES, Rendered

ADAPTER_VALUES = KUBERNETES / "components" / "queue-wait" / "prometheus-adapter-values.yaml"


def test_the_resource_is_written_from_the_rules() -> None:
    assert RESOURCE.read_text() == as_resource(RULES.read_text()), "run `make docs`"


def test_the_autoscalers_metric_is_recorded_for_each_pod(queue_wait: Rendered) -> None:
    [adapter_rule] = yaml.safe_load(ADAPTER_VALUES.read_text())["rules"]["custom"]
    [series] = re.findall(r'__name__="([^"]+)"', adapter_rule["seriesQuery"])
    groups = queue_wait.one("PrometheusRule", "lightbox")["spec"]["groups"]
    [recording] = [rule for group in groups for rule in group["rules"] if rule.get("record") == series]
    groupings = re.findall(r"by \(([^)]*)\)", recording["expr"])

    assert re.fullmatch(adapter_rule["name"]["matches"], series)
    assert groupings
    assert all({"namespace", "pod"} <= set(grouping.replace(" ", "").split(",")) for grouping in groupings)


def test_a_worker_is_missed_no_sooner_than_a_start_may_last(gpu: Rendered, queue_wait: Rendered) -> None:
    probe = gpu.container("lightbox-api")["startupProbe"]
    groups = queue_wait.one("PrometheusRule", "lightbox")["spec"]["groups"]
    [lost] = [rule for group in groups for rule in group["rules"] if rule.get("alert") == "LightboxWorkerLost"]
    [age_s] = re.findall(r"time\(\) - lightbox_start_time_seconds > (\d+)", lost["expr"])

    assert int(age_s) >= probe["periodSeconds"] * probe["failureThreshold"]
