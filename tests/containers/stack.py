"""Lightbox on a Swarm of one node, deployed by the operator's own command."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.containers.clients import PATIENT
from tests.containers.compose import ANY_FREE_PORT, clean_environment
from tests.containers.docker_cli import (
    DASHBOARD_IMAGE,
    ROOT,
    SERVICE_IMAGE,
    Container,
    docker,
    find_healthy,
    skip_or_fail,
    unique_name,
    wait_for_healthy,
    wait_until,
)

DEPLOY_TIMEOUT_S = 300
READY_TIMEOUT_S = 600


@contextmanager
def swarm() -> Iterator[None]:
    """This engine as a Swarm; skips the test where that would disturb other containers."""
    if _state() != "inactive":
        skip_or_fail("this engine is part of a Swarm already")
    if strangers := _running_on_attachable_networks():
        skip_or_fail(f"an engine that leaves its Swarm cuts these off their networks: {', '.join(strangers)}")
    try:
        wait_until(lambda: _try_to_reach("active", "init", "--advertise-addr", "127.0.0.1"), "the engine is a Swarm")
        yield
    finally:
        wait_until(lambda: _try_to_reach("inactive", "leave", "--force"), "the engine has left its Swarm")


def _state() -> str:
    return docker("info", "--format", "{{.Swarm.LocalNodeState}}")


def _try_to_reach(state: str, *command: str) -> bool:
    """Run a command and return whether the state is reached; the engine may go on after the command's time-out."""
    print(docker("swarm", *command, is_checked=False))
    return _state() == state


def _running_on_attachable_networks() -> list[str]:
    """The containers of docker-compose 1.29, which makes every network attachable."""
    names = docker("network", "ls", "--quiet", "--filter", "driver=bridge").split()
    networks = json.loads(docker("network", "inspect", *names))
    attachable = [network["Containers"].values() for network in networks if network["Attachable"]]
    return sorted({container["Name"] for containers in attachable for container in containers})


@dataclass(frozen=True)
class Stack:
    """A stack by its name."""

    name: str

    def deploy(self, image: str) -> None:
        """Begin to deploy or update."""
        chosen = {
            # Its stack_file.py needs PyYAML, which this Python has.
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "LIGHTBOX_STACK": self.name,
            "LIGHTBOX_RESOLVE_IMAGE": "never",
            "LIGHTBOX_IMAGE": image,
            "LIGHTBOX_DASHBOARD_IMAGE": DASHBOARD_IMAGE,
            "LIGHTBOX_MODELS": "efficientnet_lite0",
            "LIGHTBOX_PORT": ANY_FREE_PORT,
            "LIGHTBOX_DASHBOARD_PORT": ANY_FREE_PORT,
            **PATIENT,
        }
        done = subprocess.run(
            [ROOT / "deploy" / "swarm" / "deploy"],
            env={**clean_environment(), **chosen},
            capture_output=True,
            text=True,
            timeout=DEPLOY_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def containers(self, service: str) -> list[Container]:
        """The healthy ones of a service."""
        return find_healthy(f"com.docker.swarm.service.name={self.name}_{service}")

    def wait_for(self, service: str, count: int) -> list[Container]:
        """Wait until exactly so many are healthy."""
        return wait_for_healthy(count, f"com.docker.swarm.service.name={self.name}_{service}")

    def wait_for_update(self, state: str) -> None:
        """Wait until the service's update has this state."""

        def is_over() -> bool:
            status: dict[str, Any] = self.inspect().get("UpdateStatus", {})
            return status.get("State") == state

        wait_until(is_over, f"the update is {state}", READY_TIMEOUT_S)

    def inspect(self) -> Any:
        """The service of the replicas."""
        return json.loads(docker("service", "inspect", f"{self.name}_api"))[0]

    def image(self) -> str:
        """The image that the replicas are to run."""
        return str(self.inspect()["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"])

    def remove(self) -> None:
        """Remove it, and wait until its containers, networks and volumes are gone."""
        label = f"label=com.docker.stack.namespace={self.name}"

        def is_gone() -> bool:
            # Repeated, since it leaves a network that a task is about to use.
            docker("stack", "rm", self.name, is_checked=False)
            if docker("ps", "--all", "--quiet", "--filter", label):
                return False
            # A volume, too, stays in use until such a task is removed.
            if volumes := docker("volume", "ls", "--quiet", "--filter", label).split():
                docker("volume", "rm", *volumes, is_checked=False)
            return not any(docker(kind, "ls", "--quiet", "--filter", label) for kind in ("network", "volume"))

        wait_until(is_gone, "its containers, networks and volumes are gone", READY_TIMEOUT_S)


@contextmanager
def stack() -> Iterator[Stack]:
    """Two replicas behind nginx; removed at the end."""
    running = Stack(unique_name())
    try:
        running.deploy(SERVICE_IMAGE)
        yield running
    finally:
        print(docker("stack", "ps", "--no-trunc", running.name, is_checked=False))
        running.remove()
