"""The operator's rules are Prometheus's, and have what the autoscaler is told by."""

import re

import yaml

from bento_service.scheduling.policy import WAIT_SHARE
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


def test_the_autoscaler_adds_replicas_well_before_images_are_shed(queue_wait: Rendered) -> None:
    [_, metric] = queue_wait.one("HorizontalPodAutoscaler")["spec"]["metrics"]
    target_ms = float(queue_wait.environment("lightbox-api")["LIGHTBOX_TARGET_P99_MS"])
    wait_ms = float(metric["pods"]["target"]["averageValue"].removesuffix("m"))

    assert wait_ms < 0.5 * WAIT_SHARE * target_ms


def test_a_worker_is_missed_no_sooner_than_a_start_may_last(gpu: Rendered, queue_wait: Rendered) -> None:
    probe = gpu.container("lightbox-api")["startupProbe"]
    groups = queue_wait.one("PrometheusRule", "lightbox")["spec"]["groups"]
    [lost] = [rule for group in groups for rule in group["rules"] if rule.get("alert") == "LightboxWorkerLost"]
    [age_s] = re.findall(r"time\(\) - lightbox_start_time_seconds > (\d+)", lost["expr"])

    assert int(age_s) >= probe["periodSeconds"] * probe["failureThreshold"]
