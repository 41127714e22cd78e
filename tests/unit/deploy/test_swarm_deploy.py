"""`deploy/swarm/deploy` reads what Compose reads, and hands a stack to Docker."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SWARM = Path(__file__).parents[3] / "deploy" / "swarm"
DATA_NODE = ["node.labels.lightbox == data"]
DOCUMENT = {
    "services": {
        "api": {"image": "lightbox", "deploy": {"labels": {"lightbox.profiles": "$PROFILES"}}},
        "nginx": {"image": "nginx", "profiles": ["scale"]},
        "postgres": {"image": "postgres", "profiles": ["full"], "deploy": {"placement": {"constraints": DATA_NODE}}},
    },
    "networks": {},
    "volumes": {},
}
# Stand-ins of the two commands. What they are given goes to a file named after what they do; what a Swarm has is in
# variables of the environment.
PRINT_DOCUMENT = (
    f'[ -z "$BROKEN" ] || {{ echo "services.api is invalid" >&2; exit 1; }}\ncat <<END\n{json.dumps(DOCUMENT)}\nEND\n'
)
COMPOSE = f'echo "$@" > "$SEEN/compose"\n{PRINT_DOCUMENT}'
DOCKER = f"""
case "$1 $2" in
    "compose version") [ -n "$V2" ] ;;
    compose*) {{ shift; {COMPOSE}}} ;;
    "service ls") echo "$RUNNING" ;;
    "node ls") for node in $NODES; do echo "$node"; done ;;
    "node inspect") for node in $LABELLED; do echo "$node"; done ;;
    "node update") echo "$@" > "$SEEN/node" ;;
    "stack deploy") echo "$@" > "$SEEN/docker"; cat > "$SEEN/stack" ;;
    *) exit 1 ;;
esac
"""


@dataclass(frozen=True)
class Clone:
    """A clone with what the command needs, where `docker` and `docker-compose` are ours."""

    path: Path

    def deploy(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        swarm = {"PROFILES": "", "RUNNING": "", "NODES": "one", "LABELLED": "", "V2": "", "BROKEN": ""}
        path = f"{self.path / 'programs'}:{os.environ['PATH']}"
        return subprocess.run(
            [self.path / "deploy" / "swarm" / "deploy", *arguments],
            env={**os.environ, "PATH": path, "SEEN": str(self.path), **swarm, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def given(self, name: str) -> list[str]:
        """What a command was given, or nothing where it was not called."""
        seen = self.path / name
        return seen.read_text().split() if seen.exists() else []

    @property
    def stack(self) -> dict[str, Any]:
        services: dict[str, Any] = json.loads((self.path / "stack").read_text())["services"]
        return services


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    shutil.copytree(SWARM, tmp_path / "deploy" / "swarm")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in (("docker", DOCKER), ("docker-compose", COMPOSE)):
        (programs / name).write_text(f"#!/bin/sh\n{text}")
        (programs / name).chmod(0o755)
    (programs / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} $PYTHON_FLAGS "$@"\n')
    (programs / "python3").chmod(0o755)
    return Clone(tmp_path)


def test_it_deploys_the_compose_file_as_a_stack_of_the_name_that_was_chosen(clone: Clone) -> None:
    done = clone.deploy(LIGHTBOX_STACK="mine")

    assert done.returncode == 0, done.stderr
    assert clone.given("compose") == ["-f", "docker-compose.yml", "-f", "deploy/swarm/swarm.yml", "config"]
    assert clone.given("docker")[:2] == ["stack", "deploy"]
    assert clone.given("docker")[-1] == "mine"
    assert clone.stack.keys() == {"api", "nginx"}


def test_it_asks_compose_v2_for_json_and_for_the_services_of_every_profile(clone: Clone) -> None:
    done = clone.deploy(V2="yes")

    assert done.returncode == 0, done.stderr
    assert clone.given("compose")[4:] == ["--profile", "*", "config", "--format", "json"]
    assert clone.stack.keys() == {"api", "nginx"}


def test_it_reads_the_operators_own_override_where_there_is_one(clone: Clone) -> None:
    (clone.path / "docker-compose.override.yml").touch()

    clone.deploy()

    assert clone.given("compose")[-3:] == ["-f", "docker-compose.override.yml", "config"]


@pytest.mark.parametrize(("variable", "arguments"), [("full", []), ("", ["full"]), ("scale", ["full"])])
def test_it_deploys_the_profiles_of_the_operators_settings_and_those_it_is_given(
    clone: Clone, variable: str, arguments: list[str]
) -> None:
    done = clone.deploy(*arguments, PROFILES=variable)

    assert done.returncode == 0, done.stderr
    assert clone.stack.keys() == {"api", "nginx", "postgres"}


def test_an_upgrade_that_forgets_a_profile_removes_nothing_and_says_why(clone: Clone) -> None:
    done = clone.deploy(RUNNING="lightbox_api lightbox_nginx lightbox_postgres")

    assert done.returncode == 1
    assert done.stderr.startswith("deploy/swarm/deploy: What runs has postgres, of the profile full")
    assert clone.given("docker") == []


def test_a_profile_is_removed_where_the_operator_says_so(clone: Clone) -> None:
    done = clone.deploy("--prune", RUNNING="lightbox_api lightbox_nginx lightbox_postgres")

    assert done.returncode == 0, done.stderr
    assert "--prune" in clone.given("docker")
    assert clone.stack.keys() == {"api", "nginx"}


def test_the_only_node_of_a_swarm_is_the_one_for_the_data(clone: Clone) -> None:
    done = clone.deploy("full", NODES="one")

    assert done.returncode == 0, done.stderr
    assert clone.given("node") == ["node", "update", "--label-add", "lightbox=data", "one"]


def test_the_node_that_was_chosen_for_the_data_is_taken(clone: Clone) -> None:
    done = clone.deploy("full", NODES="one two", LABELLED="two")

    assert done.returncode == 0, done.stderr
    assert clone.given("node") == []


@pytest.mark.parametrize(
    ("labelled", "command"),
    [
        ("", "docker node update --label-add lightbox=data NODE"),
        ("one two", "docker node update --label-rm lightbox NODE"),
    ],
    ids=["none", "two"],
)
def test_where_the_data_is_to_be_on_several_nodes_is_for_the_operator_to_say(
    clone: Clone, labelled: str, command: str
) -> None:
    done = clone.deploy("full", NODES="one two", LABELLED=labelled)

    assert done.returncode == 1
    assert command in done.stderr
    assert clone.given("docker") == []


@pytest.mark.parametrize("v2", ["", "yes"])
def test_what_compose_refuses_is_the_only_error(clone: Clone, v2: str) -> None:
    done = clone.deploy(V2=v2, BROKEN="yes")

    assert done.returncode == 1
    assert done.stderr == "services.api is invalid\n"
    assert clone.given("docker") == []


def test_a_python_that_cannot_read_yaml_is_told_what_to_install(clone: Clone) -> None:
    # Compose 1.29 prints YAML. Without site packages (-S) there is no PyYAML.
    (clone.path / "programs" / "docker-compose").write_text("#!/bin/sh\necho services: {}\n")

    done = clone.deploy(PYTHON_FLAGS="-S")

    assert done.returncode == 1
    assert "has no PyYAML" in done.stderr
    assert "python3-yaml" in done.stderr
    assert len(done.stderr.splitlines()) == 1
