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
from tests.unit.deploy.compose_files import COMPOSE, NGINX, ROOT, services_of

COMMON = (NGINX / "common.conf").read_text()
ENTRY = (NGINX / "nginx.conf").read_text()
BALANCER = (NGINX / "balancer.conf").read_text()
PROBLEMS = (NGINX / "problems.conf").read_text()
DASHBOARD = ENTRY.partition("listen 8081;")[2].partition("location")[0]
SERVICE = services_of(COMPOSE)["nginx"]
LARGEST_IMAGE_BYTES = Settings().max_image_bytes + FORM_OVERHEAD_BYTES


def directives(text: str, name: str) -> list[str]:
    """The values of an nginx directive, in the order of the text."""
    return re.findall(rf"^\s*{name} ([^;]+);", text, re.MULTILINE)


def location(match: str) -> str:
    """The directives of a location of the entry proxy."""
    return ENTRY.partition(f"location {match} {{")[2].partition("}")[0]


def seconds(value: str) -> float:
    return float(value[:-1]) * {"s": 1, "m": 60, "h": 3600}[value[-1]]


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
@pytest.mark.parametrize("name", ["nginx.conf", "balancer.conf"])
def test_nginx_accepts_the_configuration(name: str, tmp_path: Path) -> None:
    """With the replicas that start.sh would write; nginx creates what it names in /tmp."""
    for file in NGINX.glob("*.conf"):
        (tmp_path / file.name).write_text(file.read_text().replace("/tmp/", f"{tmp_path}/"))  # noqa: S108 - the container's
    for service in ("api", "dashboard"):
        (tmp_path / f"{service}.servers").write_text("server 127.0.0.1:3000;\n")

    done = subprocess.run(
        ["nginx", "-t", "-c", tmp_path / name],  # noqa: S607 - the nginx on the path
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def test_the_limits_of_bodies_are_those_of_service_and_dashboard() -> None:
    config = (ROOT / "dashboard" / ".streamlit" / "config.toml").read_text()
    [upload_mb] = re.findall(r"^maxUploadSize = (\d+)", config, re.MULTILINE)
    sizes = {
        "common": directives(COMMON, "client_max_body_size"),
        "batch": directives(location("= /v1/classify/batch"), "client_max_body_size"),
        "single": directives(location(r"~ ^/(classify|v1/classify|v1/explain|v1/preview)$"), "client_max_body_size"),
        "dashboard": directives(DASHBOARD, "client_max_body_size"),
    }

    assert sizes == {
        "common": [str(Settings().max_request_bytes)],
        "batch": [str(Settings().max_request_bytes)],
        "single": [str(LARGEST_IMAGE_BYTES)],
        "dashboard": [f"{int(upload_mb) + 1}m"],
    }


def test_the_memory_for_bodies_holds_what_the_limits_allow() -> None:
    limits = dict(limit.split() for limit in directives(location("= /v1/classify/batch"), "limit_conn"))
    [tmp_bytes] = [mount["tmpfs"]["size"] for mount in SERVICE["volumes"] if isinstance(mount, dict)]
    large = int(limits["large_batch_sender"]) * Settings().max_request_bytes
    others = int(limits["uploader"]) * LARGEST_IMAGE_BYTES
    at_once = sum(int(directives(text, "limit_conn everyone")[0]) for text in (ENTRY, DASHBOARD))
    own_bytes = 300 * 1024**2

    assert 2 * (large + others) < tmp_bytes
    assert 2 * int(limits["large_batches"]) * Settings().max_request_bytes < tmp_bytes
    assert tmp_bytes + 2 * at_once * 520_000 + own_bytes < int(SERVICE["mem_limit"].removesuffix("g")) * 1024**3


@given(st.text("0123456789", max_size=10))
@example("520000")
@example("524289")
@example("0000524289")
@example("20065537")
def test_every_large_body_is_counted(content_length: str) -> None:
    [buffer] = directives(COMMON, "client_body_buffer_size")
    exempt_bytes = {"upload": int(buffer.removesuffix("k")) * 1024, "large_batch": LARGEST_IMAGE_BYTES}

    for variable, most_bytes in exempt_bytes.items():
        [pattern] = re.findall(rf'\${variable} {{\s*"~([^"]+)" "";', ENTRY)
        assert not re.search(pattern, f":{content_length}", re.ASCII) or int(content_length or 0) <= most_bytes
        assert not re.search(pattern, f"chunked:{content_length}", re.ASCII)


def test_time_limits_agree_with_the_settings() -> None:
    grace_s = int(SERVICE["stop_grace_period"][:-1])
    [shutdown] = directives(ENTRY, "worker_shutdown_timeout")

    assert [seconds(value) for value in directives(COMMON, "client_body_timeout")] == [Settings().receive_timeout_s]
    assert max(map(seconds, directives(BALANCER, "proxy_next_upstream_timeout"))) >= Settings().stop_timeout_s
    assert Settings().drain_timeout_s <= seconds(shutdown) < grace_s
    assert grace_s >= Settings().stop_timeout_s


@pytest.mark.parametrize(("status", "body"), re.findall(r"return (\d+) '(\{.*?\})\\n';", PROBLEMS + ENTRY, re.DOTALL))
def test_a_refusal_of_nginx_is_a_problem_of_the_service(status: str, body: str) -> None:
    problem = json.loads(body.replace("\\'", "'"))
    kind = PROBLEM_TYPES[problem["code"]]

    assert (problem["status"], problem["title"]) == (kind.status, kind.title) == (int(status), problem["title"])
    assert problem["type"].endswith(f":{problem['code']}")
    assert problem["request_id"] == "$request_id"


def test_every_refusal_of_nginx_itself_has_a_problem() -> None:
    targets = re.findall(r"^error_page [\d ]+= (\S+);", COMMON, re.MULTILINE)

    assert sorted(targets) == sorted(re.findall(r"^location (?:= )?(\S+) \{", PROBLEMS, re.MULTILINE))


def test_the_health_check_ignores_a_proxy_of_the_environment(tmp_path: Path) -> None:
    (tmp_path / "wget").write_text('#!/bin/sh\n[ -z "$http_proxy" ]\n')
    (tmp_path / "wget").chmod(0o755)
    environment = {"PATH": str(tmp_path), "http_proxy": "http://proxy.example:3128"}

    subprocess.run(["/bin/sh", NGINX / "get.sh", "127.0.0.1", "80", "/"], check=True, env=environment)
