"""nginx agrees with the service that it stands in front of."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bento_service.http.requests.upload import FORM_OVERHEAD_BYTES
from bento_service.http.responses.problems import PROBLEM_TYPES
from bento_service.settings import Settings
from tests.unit.deploy.compose_files import COMPOSE, NGINX, ROOT, directives, services_of

COMMON = (NGINX / "common.conf").read_text()
ENTRY = (NGINX / "nginx.conf").read_text()
BALANCER = (NGINX / "balancer.conf").read_text()
PROBLEMS = re.findall(r"return (\d+) '(\{.*?\})\\n';", (NGINX / "problems.conf").read_text() + ENTRY, re.DOTALL)


def location(match: str) -> str:
    """The directives of a location of the entry proxy."""
    return ENTRY.partition(f"location {match} {{")[2].partition("}")[0]


def is_exempt(variable: str, encoding_and_length: str) -> bool:
    """Whether the entry proxy leaves such a request out of its counts of uploads, or of large batches."""
    (pattern,) = re.findall(rf'\${variable} {{\s*"~([^"]+)" "";', ENTRY)
    return re.search(pattern, encoding_and_length, re.ASCII) is not None


def seconds(value: str) -> float:
    return float(value[:-1]) * {"s": 1, "m": 60, "h": 3600}[value[-1]]


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_nginx_takes_the_configuration(tmp_path: Path) -> None:
    """Both files, with the replicas that start.sh would write; nginx creates what it names in /tmp."""
    for file in NGINX.glob("*.conf"):
        (tmp_path / file.name).write_text(file.read_text().replace("/tmp/", f"{tmp_path}/"))  # noqa: S108 - the container's
    for service in ("api", "dashboard"):
        (tmp_path / f"{service}.servers").write_text("server 127.0.0.1:3000;\n")

    for name in ("nginx.conf", "balancer.conf"):
        done = subprocess.run(
            ["nginx", "-t", "-c", tmp_path / name],  # noqa: S607 - the nginx on the path
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_the_largest_request_is_that_of_the_service() -> None:
    batch = location("= /v1/classify/batch")

    assert directives(COMMON, "client_max_body_size") == [str(Settings().max_request_bytes)]
    assert directives(batch, "client_max_body_size") == [str(Settings().max_request_bytes)]


def test_what_one_sender_has_under_way_does_not_fill_the_memory_for_bodies() -> None:
    limits = dict(limit.split() for limit in directives(location("= /v1/classify/batch"), "limit_conn"))
    (tmp,) = (mount["tmpfs"]["size"] for mount in services_of(COMPOSE)["nginx"]["volumes"] if isinstance(mount, dict))
    large = int(limits["large_batch_sender"]) * Settings().max_request_bytes
    others = int(limits["uploader"]) * (Settings().max_image_bytes + FORM_OVERHEAD_BYTES)

    assert 2 * (large + others) < tmp
    assert 2 * int(limits["large_batches"]) * Settings().max_request_bytes < tmp


@given(st.text("0123456789", max_size=10))
@example("520000")
@example("524289")
@example("0000524289")
def test_a_body_that_lies_in_the_memory_for_bodies_counts_as_an_upload(content_length: str) -> None:
    (buffer_kib,) = (int(size.removesuffix("k")) for size in directives(COMMON, "client_body_buffer_size"))

    assert not is_exempt("upload", f":{content_length}") or int(content_length or 0) <= buffer_kib * 1024
    assert not is_exempt("upload", f"chunked:{content_length}")


@given(st.text("0123456789", max_size=10))
@example("20065537")
def test_a_batch_larger_than_a_single_image_counts_as_large(content_length: str) -> None:
    largest_image = Settings().max_image_bytes + FORM_OVERHEAD_BYTES

    assert not is_exempt("large_batch", f":{content_length}") or int(content_length or 0) <= largest_image
    assert not is_exempt("large_batch", f"chunked:{content_length}")


def test_nginx_has_memory_for_all_the_bodies_that_it_holds() -> None:
    service = services_of(COMPOSE)["nginx"]
    (tmp,) = (mount["tmpfs"]["size"] for mount in service["volumes"] if isinstance(mount, dict))
    api, dashboard = re.findall(r"listen 808[01];(.*?)location", ENTRY, re.DOTALL)
    at_once = sum(int(limit.split()[1]) for limit in directives(api + dashboard, "limit_conn") if "everyone" in limit)
    own_bytes = 300 * 1024**2

    assert tmp + 2 * at_once * 520_000 + own_bytes < int(service["mem_limit"].removesuffix("g")) * 1024**3


def test_the_largest_single_image_is_that_of_the_service() -> None:
    single = location(r"~ ^/(classify|v1/classify|v1/preview)$")

    assert directives(single, "client_max_body_size") == [str(Settings().max_image_bytes + FORM_OVERHEAD_BYTES)]


def test_the_largest_upload_is_larger_than_that_of_the_dashboard() -> None:
    config = (ROOT / "dashboard" / ".streamlit" / "config.toml").read_text()
    (upload_mb,) = re.findall(r"^maxUploadSize = (\d+)", config, re.MULTILINE)
    (dashboard,) = re.findall(r"listen 8081;(.*?)location", ENTRY, re.DOTALL)

    assert directives(dashboard, "client_max_body_size") == [f"{int(upload_mb) + 1}m"]


def test_clients_have_as_long_to_send_as_with_the_service() -> None:
    assert [seconds(value) for value in directives(COMMON, "client_body_timeout")] == [Settings().receive_timeout_s]


def test_a_stopping_replica_has_as_long_as_a_drain_takes() -> None:
    timeouts = [seconds(value) for value in directives(BALANCER, "proxy_next_upstream_timeout")]

    assert max(timeouts) >= Settings().stop_timeout_s
    assert int(services_of(COMPOSE)["nginx"]["stop_grace_period"][:-1]) >= Settings().stop_timeout_s


def test_a_stopping_entry_proxy_answers_open_requests_before_it_is_killed() -> None:
    (timeout,) = (seconds(value) for value in directives(ENTRY, "worker_shutdown_timeout"))

    assert timeout >= Settings().drain_timeout_s
    assert timeout < int(services_of(COMPOSE)["nginx"]["stop_grace_period"][:-1])


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


def test_a_health_check_of_nginx_asks_no_proxy_of_the_environment(tmp_path: Path) -> None:
    wget = tmp_path / "wget"
    wget.write_text('#!/bin/sh\n[ -z "$http_proxy" ]\n')
    wget.chmod(0o755)
    environment = {"PATH": str(tmp_path), "http_proxy": "http://proxy.example:3128"}

    done = subprocess.run(["/bin/sh", NGINX / "get.sh", "127.0.0.1", "80", "/"], check=False, env=environment)

    assert done.returncode == 0


def test_an_image_is_passed_on_to_another_replica_only_where_nothing_of_it_is_answered() -> None:
    (location,) = re.findall(r"location ~ \S+classify\S+ \{(.*?)\n        \}", BALANCER, re.DOTALL)

    assert directives(location, "proxy_next_upstream") == ["error timeout http_503 non_idempotent"]
