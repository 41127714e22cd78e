"""Containers and images for a test, by the `docker` command that a person would type."""

import json
import os
import re
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
import requests

SERVICE_IMAGE = os.environ.get("LIGHTBOX_IMAGE", "lightbox:latest")
DASHBOARD_IMAGE = os.environ.get("LIGHTBOX_DASHBOARD_IMAGE", "lightbox-dashboard:latest")
GPU_IMAGE = os.environ.get("LIGHTBOX_GPU_IMAGE", "lightbox-gpu:latest")
ROOT = Path(__file__).parents[2]
CHELSEA = ROOT / "dashboard" / "samples" / "chelsea.png"
"""A cat."""
CAT = re.compile("Egyptian cat|tabby|tiger cat|Persian cat|Siamese cat")
HARDENED = ("--read-only", "--tmpfs=/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
COMMAND_TIMEOUT_S = 300.0
"""A disk that is full of writes holds up whatever asks the engine for something."""
READY_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 60


def unique_name() -> str:
    return f"lightbox-test-{uuid.uuid4().hex[:8]}"


def docker(*arguments: str, timeout_s: float = COMMAND_TIMEOUT_S, is_checked: bool = True) -> str:
    """Run one command and return its output."""
    done = subprocess.run(  # noqa: PLW1510 - its output is worth more than the exception's
        ["docker", *arguments],  # noqa: S607 - the docker on the path
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    assert not is_checked or done.returncode == 0, f"docker {' '.join(arguments)}\n{done.stdout}{done.stderr}"
    return (done.stdout if is_checked else done.stdout + done.stderr).strip()


def wait_until(is_true: Callable[[], bool], what: str, timeout_s: float = 120.0) -> None:
    """Poll a condition from outside until it holds."""
    give_up_s = time.monotonic() + timeout_s
    tick = threading.Event()
    while not is_true():
        assert time.monotonic() < give_up_s, f"not within {timeout_s:g} s: {what}"
        tick.wait(0.1)


def skip_or_fail(why: str) -> NoReturn:
    """Skip the test; fail it in CI, which runs every test."""
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


@dataclass(frozen=True)
class Container:
    name: str
    port: int = 3000

    @property
    def url(self) -> str:
        return f"http://{docker('port', self.name, str(self.port)).splitlines()[0]}"

    def inspect(self) -> Any:
        return json.loads(docker("inspect", self.name))[0]

    @property
    def is_running(self) -> bool:
        return bool(self.inspect()["State"]["Running"])

    @property
    def health(self) -> str:
        return str(self.inspect()["State"]["Health"]["Status"])

    @property
    def exit_code(self) -> int:
        return int(self.inspect()["State"]["ExitCode"])

    def logs(self) -> str:
        return docker("logs", self.name, is_checked=False)

    def run(self, *command: str, is_checked: bool = True) -> str:
        return docker("exec", self.name, *command, is_checked=is_checked)

    def answers(self, path: str) -> bool:
        try:
            return requests.get(self.url + path, timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def classify(self, image: Path = CHELSEA) -> dict[str, Any]:
        """The answer to an image."""
        response = requests.post(f"{self.url}/v1/classify", data=image.read_bytes(), timeout=60)
        answer: dict[str, Any] = response.json()
        assert response.status_code == 200, answer
        return answer

    def journal(self) -> list[str]:
        """The ids of the newest requests in the journal, newest first; empty while it cannot be read."""
        answer = requests.get(f"{self.url}/v1/history/requests", params={"limit": 500}, timeout=60).json()
        return [request["request_id"] for request in answer.get("requests", ())]

    def metric(self, name: str) -> float:
        """The sum of a metric's samples over its labels."""
        scrape = requests.get(f"{self.url}/metrics", timeout=60)
        samples = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", scrape.text, flags=re.MULTILINE)
        assert samples, f"no {name} in {scrape.status_code} {scrape.text[:2000]}"
        return sum(float(value) for value in samples)

    def wait_ready(self, path: str = "/readyz") -> None:
        """Wait until it answers; fail with its log if it ends instead."""

        def is_ready() -> bool:
            assert self.is_running, self.logs()
            return self.answers(path)

        wait_until(is_ready, f"{self.name} answers {path}", READY_TIMEOUT_S)

    def wait_health(self, status: str) -> None:
        wait_until(lambda: self.health == status, f"{self.name} is {status}", READY_TIMEOUT_S)

    def stop(self) -> None:
        docker("stop", "--time", str(STOP_TIMEOUT_S), self.name)


@contextmanager
def container(
    image: str, *options: str, command: Sequence[str] = (), port: int = 3000, publish: bool = True
) -> Iterator[Container]:
    """Run a container on a free port; print its log and remove it, volumes included, at the end."""
    running = Container(unique_name(), port)
    published = ("--publish", f"127.0.0.1::{port}") if publish else ()
    try:
        docker("run", "--detach", "--name", running.name, *published, *options, image, *command)
        yield running
    finally:
        try:
            print(running.logs()[-4000:])
        finally:
            wait_until(lambda: _remove(running.name), f"{running.name} is removed")


def _remove(name: str) -> bool:
    """Try to remove a container; return False while the engine still uses it."""
    print(docker("rm", "--force", "--volumes", name, is_checked=False))
    return not docker("ps", "--all", "--quiet", "--filter", f"name=^{name}$")


@contextmanager
def temporary_image() -> Iterator[str]:
    """The name of an image that is removed at the end."""
    name = f"lightbox-test:{uuid.uuid4().hex[:8]}"
    try:
        yield name
    finally:
        docker("image", "rm", "--force", name, is_checked=False)


def find_healthy(*labels: str) -> list[Container]:
    """The healthy containers with all of these labels."""
    filters = [argument for label in labels for argument in ("--filter", f"label={label}")]
    return [Container(name) for name in docker("ps", "--quiet", "--filter", "health=healthy", *filters).split()]


def wait_for_healthy(count: int, *labels: str) -> list[Container]:
    """Wait until exactly so many are healthy."""
    found: list[Container] = []

    def are_there() -> bool:
        found[:] = find_healthy(*labels)
        return len(found) == count

    wait_until(are_there, f"{count} healthy containers of {labels}", 2 * READY_TIMEOUT_S)
    return found


@contextmanager
def volume() -> Iterator[str]:
    name = unique_name()
    docker("volume", "create", name)
    try:
        yield name
    finally:
        docker("volume", "rm", "--force", name)
