"""nginx before several replicas, and what its log says of who answered."""

import ipaddress
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.containers.clients import Load
from tests.containers.docker_cli import Container, docker, wait_until

API_PORT = 8080
DASHBOARD_PORT = 8081


def address_of(container: Container) -> str:
    """Where nginx finds a replica, in its own words; the network of the service's clients is the one that it is on."""
    networks: dict[str, Any] = container.inspect()["NetworkSettings"]["Networks"]
    (address,) = (network["IPAddress"] for name, network in networks.items() if name.endswith("_front"))
    return f"{ipaddress.ip_address(address)}:3000"


@dataclass(frozen=True)
class Door:
    """The container of nginx."""

    container: Container

    @property
    def url(self) -> str:
        return Container(self.container.name, API_PORT).url

    @property
    def dashboard_url(self) -> str:
        return Container(self.container.name, DASHBOARD_PORT).url

    def is_open(self) -> bool:
        """Whether a replica can be reached."""
        return Container(self.container.name, API_PORT).answers("/readyz")

    def wait_for(self, replicas: list[Container], asking: Load) -> None:
        """Waits until each replica answers, from now on; somebody has to ask."""
        addresses = {address_of(replica) for replica in replicas}
        now = datetime.now(UTC)
        wait_until(lambda: addresses <= self._answered_since(now), f"nginx passes requests to {addresses}")
        assert asking.count() > 0

    def _answered_since(self, when: datetime) -> set[str]:
        """The addresses of the replicas that have classified; nginx writes each second what came before."""
        log = docker("logs", "--since", when.isoformat(), self.container.name, is_checked=False)
        # Where several were asked, the last one answered.
        return {
            line["replica"].split(", ")[-1]
            for line in _read_requests(log)
            if line["status"] == 200
            and line["target"] == "/v1/classify"
            and datetime.fromisoformat(line["time"]) >= when
        }


def _read_requests(log: str) -> Iterator[dict[str, Any]]:
    """The lines of a log that are of requests and whole: those of nginx's two workers may run into one another."""
    for line in log.splitlines():
        with suppress(json.JSONDecodeError):
            if line.startswith("{"):
                yield json.loads(line)
