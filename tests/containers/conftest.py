"""Shared fixtures. The tests need the images that `make test-containers` builds."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.containers.docker_cli import HARDENED, SERVICE_IMAGE, Container, container, skip_or_fail


@pytest.fixture(scope="session", autouse=True)
def _engine() -> None:
    try:
        subprocess.run(["docker", "info"], check=True, capture_output=True)  # noqa: S607 - the docker on the path
    except (OSError, subprocess.CalledProcessError):
        skip_or_fail("no Docker engine answers; `make test-containers` says how to get one")


@pytest.fixture(scope="session")
def service() -> Iterator[Container]:
    """A service of two workers on a read-only file system, shared by tests that do not break it."""
    with container(SERVICE_IMAGE, *HARDENED, "--env", "LIGHTBOX_WORKERS=2") as running:
        running.wait_ready()
        yield running
