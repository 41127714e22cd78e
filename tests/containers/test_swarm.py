"""Two replicas on a Swarm of one node, updated and killed under load."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.clients import NOTICED_S, load
from tests.containers.docker_cli import SERVICE_IMAGE, docker, temporary_image, wait_until
from tests.containers.entry_proxy import EntryProxy
from tests.containers.stack import Stack, stack, swarm

# The first test's time includes that of the stack to come up.
pytestmark = pytest.mark.timeout(3600)
REPLICAS = 2
NEVER_HEALTHY = f'FROM {SERVICE_IMAGE}\nHEALTHCHECK --interval=1s --start-period=1s --retries=2 CMD ["false"]\n'


@pytest.fixture(scope="module")
def lightbox() -> Iterator[Stack]:
    with swarm(), stack() as running:
        running.wait_for("api", REPLICAS)
        yield running


@pytest.fixture(scope="module")
def proxy(lightbox: Stack, jpegs: list[Path]) -> EntryProxy:
    (nginx,) = lightbox.wait_for("nginx", 1)
    proxy = EntryProxy(nginx)
    proxy.wait_open(lightbox.wait_for("api", REPLICAS), jpegs)
    return proxy


@pytest.fixture(scope="module")
def another_version() -> Iterator[str]:
    with temporary_image() as name:
        docker("tag", SERVICE_IMAGE, name)
        yield name


@pytest.fixture
def broken_version() -> Iterator[str]:
    with temporary_image() as name:
        command = ["docker", "build", "--tag", name, "-"]
        subprocess.run(command, input=NEVER_HEALTHY, text=True, check=True, capture_output=True)
        yield name


def test_a_rolling_update_under_load_costs_no_request(
    lightbox: Stack, proxy: EntryProxy, another_version: str, jpegs: list[Path]
) -> None:
    both = lightbox.wait_for("api", REPLICAS)
    before = {replica.name for replica in both}
    with load(proxy.url, jpegs, timeout_s=NOTICED_S) as asking:
        proxy.wait_for(both, asking)
        lightbox.deploy(another_version)
        lightbox.wait_for_update("completed")
        after = lightbox.wait_for("api", REPLICAS)
        proxy.wait_for(after, asking)

    asking.assert_nobody_noticed()
    assert {replica.inspect()["Config"]["Image"] for replica in after} == {another_version}
    assert before.isdisjoint(replica.name for replica in after)


def test_a_replica_killed_under_load_is_replaced(lightbox: Stack, proxy: EntryProxy, jpegs: list[Path]) -> None:
    killed, other = lightbox.wait_for("api", REPLICAS)
    with load(proxy.url, jpegs, timeout_s=NOTICED_S) as asking:
        proxy.wait_for([killed, other], asking)
        docker("kill", killed.name)
        wait_until(lambda: killed.name not in [replica.name for replica in lightbox.containers("api")], "it is gone")
        both = lightbox.wait_for("api", REPLICAS)
        proxy.wait_for(both, asking)

    asking.assert_nobody_noticed()
    assert other.name in {replica.name for replica in both}


def test_an_update_to_an_unhealthy_version_is_rolled_back(
    lightbox: Stack, proxy: EntryProxy, broken_version: str, jpegs: list[Path]
) -> None:
    both = lightbox.wait_for("api", REPLICAS)
    good_version = lightbox.image()
    with load(proxy.url, jpegs, timeout_s=NOTICED_S) as asking:
        proxy.wait_for(both, asking)
        lightbox.deploy(broken_version)
        lightbox.wait_for_update("rollback_completed")
        proxy.wait_for(lightbox.wait_for("api", REPLICAS), asking)

    asking.assert_nobody_noticed()
    assert lightbox.image() == good_version
