"""A Compose project for a test: its own name, its own settings, any free ports."""

import functools
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.containers.docker_cli import DASHBOARD_IMAGE, ROOT, SERVICE_IMAGE, Container, docker, unique_name

ANY_FREE_PORT = "0"
RUN_TIMEOUT_S = 600
"""The start period of a container's health check."""


def clean_environment() -> dict[str, str]:
    """The environment without the settings of an installation that the person who runs the tests may have."""
    own = ("LIGHTBOX_", "COMPOSE_", "POSTGRES_")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)}


@functools.cache
def compose_command() -> tuple[str, ...]:
    """Compose v2 where the engine has it, else docker-compose 1.29."""
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)  # noqa: S607
    return ("docker", "compose") if plugin.returncode == 0 else ("docker-compose",)


@dataclass(frozen=True)
class Project:
    """A Compose project; `env_file` takes the place of an operator's .env."""

    name: str
    env_file: Path

    def run(self, *arguments: str, is_checked: bool = True) -> str:
        """Run one command of Compose in the checkout and return its output."""
        command = [*compose_command(), "--env-file", str(self.env_file), *arguments]
        done = subprocess.run(
            command,
            cwd=ROOT,
            # docker-compose 1.29 gives the engine a minute to answer each call.
            env={**clean_environment(), "COMPOSE_PROJECT_NAME": self.name, "COMPOSE_HTTP_TIMEOUT": str(RUN_TIMEOUT_S)},
            capture_output=True,
            text=True,
            timeout=RUN_TIMEOUT_S,
            check=False,
        )
        assert not is_checked or done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def container(self, service: str, port: int = 3000) -> Container:
        """The one container of a service, running or not."""
        (container_id,) = self.run("ps", "--all", "--quiet", service).split()
        return Container(container_id, port)

    def containers(self) -> list[Container]:
        """All running containers."""
        label = f"label=com.docker.compose.project={self.name}"
        return [Container(name) for name in docker("ps", "--quiet", "--filter", label).split()]

    def address(self, service: str) -> str:
        """The address of a container that publishes no port."""
        networks = self.container(service).inspect()["NetworkSettings"]["Networks"]
        return str(networks[f"{self.name}_front"]["IPAddress"])


@contextmanager
def project(folder: Path, **settings: str) -> Iterator[Project]:
    """A project with these variables in its .env; removed at the end, volumes included."""
    variables: Mapping[str, str] = {
        "LIGHTBOX_IMAGE": SERVICE_IMAGE,
        "LIGHTBOX_DASHBOARD_IMAGE": DASHBOARD_IMAGE,
        "LIGHTBOX_PORT": ANY_FREE_PORT,
        "LIGHTBOX_DASHBOARD_PORT": ANY_FREE_PORT,
        **settings,
    }
    env_file = folder / "lightbox.env"
    env_file.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    running = Project(unique_name(), env_file)
    try:
        yield running
    finally:
        try:
            print(running.run("logs", "--no-color", "--tail=50", is_checked=False))
        finally:
            running.run("down", "--volumes", "--remove-orphans")
