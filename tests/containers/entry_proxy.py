"""nginx in front of several replicas, and its log."""

import ipaddress
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.containers.clients import Load, load
from tests.containers.docker_cli import Container, docker, wait_until

API_PORT = 8080
DASHBOARD_PORT = 8081


def address_of(container: Container, port: int = 3000) -> str:
    """The address of a replica as nginx logs it, on the network that both are on."""
    networks: dict[str, Any] = container.inspect()["NetworkSettings"]["Networks"]
    (address,) = (network["IPAddress"] for name, network in networks.items() if name.endswith("_front"))
    return f"{ipaddress.ip_address(address)}:{port}"


@dataclass(frozen=True)
class EntryProxy:
    """The container of nginx."""

    container: Container

    @property
    def url(self) -> str:
        return Container(self.container.name, API_PORT).url

    @property
    def dashboard_url(self) -> str:
        return Container(self.container.name, DASHBOARD_PORT).url

    def wait_for(self, replicas: list[Container], asking: Load) -> None:
        """Wait until each replica has answered a request from now on; a client has to ask."""
        addresses = {address_of(replica) for replica in replicas}
        now = datetime.now(UTC)
        wait_until(lambda: addresses <= self._answered_since(now), f"nginx passes requests to {addresses}")
        # nginx may log a request before the client has read the answer.
        wait_until(lambda: asking.count() > 0, "a client has an answer")

    def wait_open(self, replicas: list[Container], images: Sequence[Path]) -> None:
        """Wait until each replica answers and no request fails any more.

        nginx is healthy before it has found a replica, and its old balancer process refuses requests for a tenth of a
        second beside the new one.
        """
        with load(self.url, images, clients=2) as asking:

            def all_answer() -> bool:
                failed = len(asking.failures())
                self.wait_for(replicas, asking)
                return len(asking.failures()) == failed

            wait_until(all_answer, "nginx passes every request to a replica")

    def replicas_in_use(self, service: str) -> set[str]:
        """The addresses of a service's replicas that nginx balances between."""
        servers = self.container.run("cat", f"/tmp/{service}.servers")  # noqa: S108 - the container's tmpfs
        return {line.split()[1] for line in servers.splitlines()}

    def answered_by(self, prefix: str) -> dict[str, list[str]]:
        """The addresses of the answering replicas by request id, for ids with this prefix."""
        addresses: dict[str, list[str]] = {}
        for line in self._log():
            if line["request_id"].startswith(prefix):
                addresses.setdefault(line["request_id"], []).append(line["replica"])
        return addresses

    def _answered_since(self, when: datetime) -> set[str]:
        """The addresses of the replicas that have classified; nginx writes its log once a second."""
        # Where several were asked, the last one answered.
        return {
            line["replica"].split(", ")[-1]
            for line in self._log("--since", when.isoformat())
            if line["status"] == 200
            and line["target"] == "/v1/classify"
            and datetime.fromisoformat(line["time"]) >= when
        }

    def _log(self, *options: str) -> Iterator[dict[str, Any]]:
        """The log, a request a line, without lines that its two workers wrote into each other."""
        for line in docker("logs", *options, self.container.name, is_checked=False).splitlines():
            with suppress(json.JSONDecodeError):
                if line.startswith("{"):
                    yield json.loads(line)
