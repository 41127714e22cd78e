"""The real service exports every series of the rules and panels under load."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.running_service import RunningService, running_service, wait_until
from tests.monitoring.conftest import Programs
from tests.monitoring.deployed import Target, fill_in, read_board, read_rules, read_targets, selectors_of
from tests.monitoring.prometheus_server import PrometheusServer, Sample, running_prometheus
from tests.monitoring.traffic import EXPECTED, Traffic

SETTINGS: Mapping[str, Any] = {"workers": 2, "models": "efficientnet_lite0", "max_queue_items": 4}
SCRAPES = 8
LEGEND_LABEL = re.compile(r"\{\{(\w+)\}\}")


@pytest.fixture(scope="module")
def service(bentoml_home: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with running_service(tmp_path_factory.mktemp("monitored"), **SETTINGS) as running:
        wait_until(lambda: "lightbox_workers_ready 2.0" in running.read_metrics())
        yield running


@pytest.fixture(scope="module")
def prometheus(
    programs: Programs,
    service: RunningService,
    jpegs: list[Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[PrometheusServer]:
    """A Prometheus that scrapes the service under load."""
    target = service.url.removeprefix("http://")
    folder = tmp_path_factory.mktemp("prometheus")
    with (
        running_prometheus(programs.prometheus, folder, target=target) as server,
        Traffic(service.url, jpegs) as traffic,
    ):
        wait_until(lambda: traffic.statuses >= EXPECTED, timeout_s=120)
        seen = 'min(count_over_time(lightbox_http_requests_total{status=~"200|422|429|504"}[5m]))'
        wait_until(lambda: any(float(sample["value"][1]) >= SCRAPES for sample in server.query(seen)), timeout_s=120)
        yield server
    assert traffic.statuses == EXPECTED


def query_values(prometheus: PrometheusServer, expr: str) -> list[Sample]:
    """The samples of an expression that are numbers, once there are some.

    A scrape that came too late leaves a moment without any, and a rate without requests one of NaN.
    """
    found: list[Sample] = []

    def are_there() -> bool:
        found[:] = [sample for sample in prometheus.query(expr) if sample["value"][1] != "NaN"]
        return bool(found)

    wait_until(are_there)
    return found


@pytest.mark.parametrize("rule", read_rules(), ids=lambda rule: rule.get("alert", rule.get("record")))
def test_every_series_that_a_rule_names_is_there(rule: dict[str, str], prometheus: PrometheusServer) -> None:
    selectors = selectors_of(rule["expr"])

    assert selectors
    assert {selector for selector in selectors if not prometheus.find_series(selector)} == set()


def test_every_rule_can_be_evaluated(prometheus: PrometheusServer) -> None:
    assert prometheus.broken_rules() == []


@pytest.mark.parametrize("name", [rule["record"] for rule in read_rules() if "record" in rule])
def test_every_recording_rule_has_a_value(name: str, prometheus: PrometheusServer) -> None:
    assert query_values(prometheus, name)


@pytest.mark.parametrize("target", read_targets(), ids=lambda target: f"{target.panel}-{target.legend}")
def test_every_query_of_a_panel_has_data_with_its_labels(target: Target, prometheus: PrometheusServer) -> None:
    expr = fill_in(target.expr)
    samples = query_values(prometheus, expr)

    assert {selector for selector in selectors_of(expr) if not prometheus.find_series(selector)} == set()
    assert all(set(LEGEND_LABEL.findall(target.legend)) <= set(sample["metric"]) for sample in samples)


def test_every_variable_of_the_board_offers_values(prometheus: PrometheusServer) -> None:
    queries = [variable["definition"] for variable in read_board()["templating"]["list"] if "definition" in variable]

    assert len(queries) == 2
    for query in queries:
        series, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", query).groups()  # type: ignore[union-attr]
        assert {labels[label] for labels in prometheus.find_series(series)}, query
