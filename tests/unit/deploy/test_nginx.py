"""nginx agrees with the service that it stands in front of."""

import json
import re

import pytest

from bento_service.http.problems import PROBLEM_TYPES
from bento_service.http.upload import FORM_OVERHEAD_BYTES
from bento_service.settings import Settings
from tests.unit.deploy.compose_files import COMPOSE, NGINX, ROOT, directives, services_of

COMMON = (NGINX / "common.conf").read_text()
DOOR = (NGINX / "nginx.conf").read_text()
BALANCER = (NGINX / "balancer.conf").read_text()
PROBLEMS = re.findall(r"return (\d+) '(\{.*?\})\\n';", (NGINX / "problems.conf").read_text() + DOOR, re.DOTALL)


def seconds(value: str) -> float:
    return float(value[:-1]) * {"s": 1, "m": 60, "h": 3600}[value[-1]]


def test_the_largest_request_is_that_of_the_service() -> None:
    assert directives(COMMON, "client_max_body_size") == [str(Settings().max_request_bytes)]


def test_the_largest_single_image_is_that_of_the_service() -> None:
    (location,) = re.findall(r"location = /v1/classify \{(.*?)\}", DOOR, re.DOTALL)

    assert directives(location, "client_max_body_size") == [str(Settings().max_image_bytes + FORM_OVERHEAD_BYTES)]


def test_the_largest_upload_is_larger_than_that_of_the_dashboard() -> None:
    config = (ROOT / "dashboard" / ".streamlit" / "config.toml").read_text()
    (upload_mb,) = re.findall(r"^maxUploadSize = (\d+)", config, re.MULTILINE)
    (dashboard,) = re.findall(r"listen 8081;(.*?)location", DOOR, re.DOTALL)

    assert directives(dashboard, "client_max_body_size") == [f"{int(upload_mb) + 1}m"]


def test_clients_have_as_long_to_send_as_with_the_service() -> None:
    assert [seconds(value) for value in directives(COMMON, "client_body_timeout")] == [Settings().receive_timeout_s]


def test_the_service_has_longer_to_answer_than_the_largest_target() -> None:
    (largest_ms,) = (limit.le for limit in Settings.model_fields["target_p99_ms"].metadata if hasattr(limit, "le"))

    assert seconds(directives(COMMON, "proxy_read_timeout")[0]) > largest_ms / 1000


def test_a_stopping_replica_has_as_long_as_a_drain_takes() -> None:
    timeouts = [seconds(value) for value in directives(BALANCER, "proxy_next_upstream_timeout")]

    assert max(timeouts) >= Settings().stop_timeout_s
    assert int(services_of(COMPOSE)["nginx"]["stop_grace_period"][:-1]) >= Settings().stop_timeout_s


@pytest.mark.parametrize(("status", "body"), PROBLEMS)
def test_a_refusal_of_nginx_is_a_problem_that_the_service_has_too(status: str, body: str) -> None:
    problem = json.loads(body.replace("\\'", "'"))
    kind = PROBLEM_TYPES[problem["code"]]

    assert (problem["status"], problem["title"]) == (kind.status, kind.title) == (int(status), problem["title"])
    assert problem["type"].endswith(f":{problem['code']}")
    assert problem["request_id"] == "$request_id"


def test_every_refusal_that_nginx_makes_by_itself_has_a_problem() -> None:
    targets = re.findall(r"^error_page [\d ]+= (\S+);", COMMON, re.MULTILINE)
    locations = re.findall(r"^location (?:= )?(\S+) \{", (NGINX / "problems.conf").read_text(), re.MULTILINE)

    assert sorted(targets) == sorted(locations)


@pytest.mark.parametrize("configuration", [DOOR, BALANCER])
def test_nginx_writes_to_memory_only(configuration: str) -> None:
    paths = re.findall(r"^\s*(?:pid|\w+_temp_path) ([^;]+);", configuration, re.MULTILINE)

    assert len(paths) == 6
    assert all(path.startswith("/tmp/") for path in paths)  # noqa: S108 - the container's tmpfs


def test_an_image_is_passed_on_to_another_replica_only_where_nothing_of_it_is_answered() -> None:
    (location,) = re.findall(r"location ~ \S+classify\S+ \{(.*?)\n        \}", BALANCER, re.DOTALL)

    assert directives(location, "proxy_next_upstream") == ["error timeout http_503 non_idempotent"]
