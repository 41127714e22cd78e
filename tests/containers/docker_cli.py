"""Containers for a test, by the `docker` command that a person would type."""

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
from typing import Any, NoReturn

import pytest
import requests

SERVICE_IMAGE = os.environ.get("LIGHTBOX_IMAGE", "lightbox:latest")
DASHBOARD_IMAGE = os.environ.get("LIGHTBOX_DASHBOARD_IMAGE", "lightbox-dashboard:latest")
GPU_IMAGE = os.environ.get("LIGHTBOX_GPU_IMAGE", "lightbox-gpu:latest")
HARDENED = ("--read-only", "--tmpfs=/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
COMMAND_TIMEOUT_S = 300.0
"""A disk that is full of writes holds up whatever asks the engine for something."""
READY_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 60


def docker(*arguments: str, timeout_s: float = COMMAND_TIMEOUT_S, is_checked: bool = True) -> str:
    """Runs one command and returns what it printed."""
    done = subprocess.run(  # noqa: PLW1510 - its output is worth more than the exception's
        ["docker", *arguments],  # noqa: S607 - the docker on the path
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    assert not is_checked or done.returncode == 0, f"docker {' '.join(arguments)}\n{done.stdout}{done.stderr}"
    return (done.stdout if is_checked else done.stdout + done.stderr).strip()


def wait_until(is_true: Callable[[], bool], what: str, timeout_s: float = 120.0) -> None:
    """Waits until something can be seen from outside."""
    give_up_s = time.monotonic() + timeout_s
    tick = threading.Event()
    while not is_true():
        assert time.monotonic() < give_up_s, f"not within {timeout_s:g} s: {what}"
        tick.wait(0.1)


def skip_or_fail(why: str) -> NoReturn:
    """Skips what this machine cannot run; in CI, which is to run every test, that is a failure."""
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

    def metric(self, name: str) -> float:
        """The sum of a metric's samples over its labels, of which there is one at least."""
        scrape = requests.get(f"{self.url}/metrics", timeout=60)
        samples = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", scrape.text, flags=re.MULTILINE)
        assert samples, f"no {name} in {scrape.status_code} {scrape.text[:2000]}"
        return sum(float(value) for value in samples)

    def wait_ready(self, path: str = "/readyz") -> None:
        """Waits until it answers; fails with its log if it ends instead."""

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
    """Starts a container on a free port; its log is printed and it is removed, volumes included, at the end."""
    running = Container(f"lightbox-test-{uuid.uuid4().hex[:8]}", port)
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
    """Removes a container and tells whether it is gone; the engine may find something of it still in use."""
    print(docker("rm", "--force", "--volumes", name, is_checked=False))
    return not docker("ps", "--all", "--quiet", "--filter", f"name=^{name}$")


@contextmanager
def volume() -> Iterator[str]:
    name = f"lightbox-test-{uuid.uuid4().hex[:8]}"
    docker("volume", "create", name)
    try:
        yield name
    finally:
        docker("volume", "rm", "--force", name)
