"""Compose's profile `full` but for Grafana: what PostgreSQL, Redis and Prometheus do, and what their outages cost."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.containers.clients import Load, load
from tests.containers.compose import Project, project
from tests.containers.docker_cli import CHELSEA, Container, wait_until
from tests.monitoring.deployed import fill_in, read_rules, read_targets
from tests.monitoring.prometheus_server import PrometheusServer

# Several waits in each, and the first test's time includes that of the containers to come up.
pytestmark = pytest.mark.timeout(2400)
PASSWORD = "f0rTests0nly"  # noqa: S105 - of a database that lives as long as this test
OUTAGE_S = 30.0
RECOVERY_S = 300.0
"""Journal and cache try again every 30 s; on a machine that is busy some tries come to nothing."""
REPEATED = 20
CACHE_LOST, CACHE_BACK = "does not serve the cache", "serves the cache again"
JOURNAL_LOST, JOURNAL_BACK = "Receipts wait in memory", "The journal is written again"
SETTINGS = {
    "COMPOSE_PROFILES": "full",
    "POSTGRES_PASSWORD": PASSWORD,
    "LIGHTBOX_JOURNAL_URL": f"postgresql://lightbox:{PASSWORD}@postgres:5432/lightbox",
    "LIGHTBOX_CACHE_URL": "redis://redis:6379/0",
    # Keeps no answer in the worker's own memory, so that each is looked for in Redis.
    "LIGHTBOX_CACHE_BYTES": "1",
    # However many receipts a fast machine makes while a busy one is slow to bring PostgreSQL back.
    "LIGHTBOX_JOURNAL_BUFFER_ROWS": "200000",
    "LIGHTBOX_MODELS": "efficientnet_lite0",
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with project(tmp_path_factory.mktemp("full"), **SETTINGS) as running:
        running.run("up", "-d", "api", "postgres", "redis", "prometheus")
        for name in ("postgres", "redis", "api", "prometheus"):
            running.container(name).wait_health("healthy")
        yield running


@pytest.fixture
def api(stack: Project) -> Container:
    return stack.container("api")


@pytest.fixture
def prometheus(stack: Project) -> PrometheusServer:
    return PrometheusServer(f"http://{stack.address('prometheus')}:9090")


def read_history(api: Container) -> requests.Response:
    """One bucket of the last hour."""
    return requests.get(f"{api.url}/v1/history", params={"buckets": 1}, timeout=60)


def outcomes(api: Container) -> dict[str, int]:
    """How many requests of the last hour ended how, by the journal."""
    counts: dict[str, int] = read_history(api).json()["total"]["outcomes"]
    return counts


def answered(stack: Project) -> set[str]:
    """The requests that PostgreSQL itself knows as answered."""
    query = "SELECT request_id FROM receipts WHERE outcome = 'ok'"
    return set(stack.container("postgres").run("psql", "-At", "-U", "lightbox", "-c", query).split())


def said(running: Container, words: str) -> int:
    return running.logs().count(words)


def wait_written(api: Container) -> None:
    wait_until(lambda: api.metric("lightbox_journal_waiting_rows") == 0, "every receipt is written", RECOVERY_S)


def wait_cached(api: Container, image: Path = CHELSEA) -> dict[str, Any]:
    """Asks for an image until Redis has it and gives it in time, and returns that answer."""
    answers: list[dict[str, Any]] = []

    def is_cached() -> bool:
        answers.append(api.classify(image))
        return bool(answers[-1]["cached"])

    wait_until(is_cached, f"{image.name} is answered from the cache", RECOVERY_S)
    return answers[-1]


def wait_outage(asking: Load) -> None:
    """Waits until the outage has lasted, with load all the time."""
    end_s, before = time.monotonic() + OUTAGE_S, asking.count()
    wait_until(
        lambda: time.monotonic() > end_s and asking.count() > before + 100,
        "the outage has lasted, and images were classified",
        OUTAGE_S + RECOVERY_S,
    )


def test_receipts_are_in_postgresql(stack: Project, api: Container) -> None:
    request_id = api.classify()["request_id"]

    wait_until(lambda: request_id in answered(stack), "the receipt is written")


def test_images_are_answered_from_redis_after_a_restart(stack: Project, api: Container, jpegs: list[Path]) -> None:
    first = [wait_cached(api, path) for path in jpegs[:REPEATED]]

    stack.run("restart", "api")
    api.wait_ready()
    again, failures = [], api.metric("lightbox_cache_failures_total")
    for path in jpegs[:REPEATED]:
        # Another image, until Redis serves: it is left alone for a while where a busy machine let it miss its time.
        wait_cached(api)
        again.append(api.classify(path))

    cached = [(before, after) for before, after in zip(first, again, strict=True) if after["cached"]]
    assert cached
    assert REPEATED - len(cached) <= api.metric("lightbox_cache_failures_total") - failures
    assert all(after["predictions"] == before["predictions"] for before, after in cached)


def test_an_outage_of_redis_costs_no_answer(stack: Project, api: Container, jpegs: list[Path]) -> None:
    with load(api.url, jpegs) as asking:
        wait_until(lambda: asking.count() > 100, "the load is running")
        stack.run("stop", "redis")
        failures = api.metric("lightbox_cache_failures_total")
        wait_outage(asking)
        # Where Redis was left alone already as it was stopped, the next failure is that of the next trial.
        wait_until(lambda: api.metric("lightbox_cache_failures_total") > failures, "Redis has failed", RECOVERY_S)
        # A busy machine may have lost and found it before, so the lines are counted.
        returns = said(api, CACHE_BACK)
        wait_until(lambda: said(api, CACHE_LOST) > returns, "Redis is known to be lost")
        stack.run("start", "redis")
        wait_until(lambda: said(api, CACHE_BACK) > returns, "Redis is asked again", RECOVERY_S)

    assert asking.failures() == []
    wait_cached(api)


def test_an_outage_of_postgresql_costs_no_answer_and_no_receipt(
    stack: Project, api: Container, jpegs: list[Path]
) -> None:
    wait_written(api)
    before, dropped = outcomes(api), api.metric("lightbox_journal_rows_dropped_total")
    losses, returns = said(api, JOURNAL_LOST), said(api, JOURNAL_BACK)

    with load(api.url, jpegs, is_repeating=False) as asking:
        wait_until(lambda: asking.count() > 100, "the load is running")
        stack.run("stop", "postgres")
        wait_outage(asking)
        waiting = api.metric("lightbox_journal_waiting_rows")
        refused = read_history(api)
        stack.run("start", "postgres")
        wait_until(lambda: said(api, JOURNAL_BACK) > returns, "the journal is written again", RECOVERY_S)
        answers = asking.count()
        wait_until(lambda: asking.count() > answers + 100, "the load goes on")
    wait_written(api)
    after = outcomes(api)

    assert asking.failures() == []
    assert waiting > 0
    assert (refused.status_code, refused.json()["code"]) == (503, "journal_unavailable")
    assert said(api, JOURNAL_LOST) == losses + 1
    assert api.metric("lightbox_journal_rows_dropped_total") == dropped
    assert {answer.request_id for answer in asking.answers if answer.status == 200} <= answered(stack)
    assert after.get("ok", 0) - before.get("ok", 0) == asking.count(200)
    assert after.get("overloaded", 0) - before.get("overloaded", 0) == asking.count(429)


def test_prometheus_scrapes_the_service_and_evaluates_every_rule(prometheus: PrometheusServer) -> None:
    wait_until(lambda: bool(prometheus.query('up{job="lightbox"} == 1')), "the service is scraped")

    for rule in read_rules():
        prometheus.query(rule["expr"])
    assert sorted(prometheus.rule_names()) == sorted(rule.get("alert") or rule["record"] for rule in read_rules())
    assert prometheus.broken_rules() == []


def test_every_query_of_the_board_has_data_under_load(
    prometheus: PrometheusServer, api: Container, jpegs: list[Path]
) -> None:
    def empty() -> list[str]:
        found = {target: prometheus.query(fill_in(target.expr, interval="1m")) for target in read_targets()}
        return [
            f"{target.panel}: {target.legend}"
            for target, samples in found.items()
            if all(sample["value"][1] == "NaN" for sample in samples)
        ]

    # Always new images: what comes from the cache has no stages.
    with load(api.url, jpegs, clients=2, is_repeating=False):
        wait_until(lambda: empty() == [], "every panel shows something", RECOVERY_S)


def test_every_container_ends_by_itself_as_it_is_stopped(stack: Project) -> None:
    running = stack.containers()

    stack.run("stop")

    assert [container.exit_code for container in running] == [0, 0, 0, 0]
