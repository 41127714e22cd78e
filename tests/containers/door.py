"""nginx before several replicas, and what its log says of who answered."""

import ipaddress
import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from tests.containers.docker import Container, wait_until
from tests.containers.load import Load

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

    def answered(self) -> Counter[str]:
        """Classifications of each replica so far, by its address; nginx writes each second."""
        lines = (json.loads(line) for line in self.container.logs().splitlines() if line.startswith("{"))
        return Counter(
            # Where several were asked, the last one answered.
            line["replica"].split(", ")[-1]
            for line in lines
            if line["status"] == 200 and line["target"] == "/v1/classify"
        )

    def wait_for(self, replicas: list[Container], asking: Load) -> None:
        """Waits until each replica answers, from now on; somebody has to ask."""
        addresses = [address_of(replica) for replica in replicas]
        before = self.answered()
        wait_until(
            lambda: set(addresses) <= (self.answered() - before).keys(),
            f"nginx passes requests to {addresses}",
        )
        assert asking.count() > 0
