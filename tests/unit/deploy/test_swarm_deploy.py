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
# Fakes of the two commands: they write their arguments to files in $SEEN, and environment variables describe the Swarm.
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
    """A clone of the repository whose `docker` and `docker-compose` are fakes."""

    path: Path

    def deploy(self, *arguments: str, **environment: str) -> None:
        done = self.run(*arguments, **environment)
        assert done.returncode == 0, done.stderr

    def refuse(self, *arguments: str, **environment: str) -> str:
        """Fail to deploy, without a call of Docker, and return what the operator reads."""
        done = self.run(*arguments, **environment)
        assert (done.returncode, self.given("docker")) == (1, [])
        return done.stderr

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
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
        """The arguments of a command; empty where it was not called."""
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


def test_the_compose_file_is_deployed_as_a_stack(clone: Clone) -> None:
    clone.deploy(LIGHTBOX_STACK="mine")

    assert clone.given("compose") == ["-f", "docker-compose.yml", "-f", "deploy/swarm/swarm.yml", "config"]
    assert clone.given("docker")[:2] == ["stack", "deploy"]
    assert clone.given("docker")[-1] == "mine"
    assert clone.stack.keys() == {"api", "nginx"}


def test_compose_v2_is_asked_for_json_of_every_profile(clone: Clone) -> None:
    clone.deploy(V2="yes")

    assert clone.given("compose")[4:] == ["--profile", "*", "config", "--format", "json"]
    assert clone.stack.keys() == {"api", "nginx"}


def test_the_operators_override_is_read(clone: Clone) -> None:
    (clone.path / "docker-compose.override.yml").touch()

    clone.deploy()

    assert clone.given("compose")[-3:] == ["-f", "docker-compose.override.yml", "config"]


@pytest.mark.parametrize(("variable", "arguments"), [("full", []), ("scale", ["full"])])
def test_profiles_come_from_the_settings_and_the_command_line(
    clone: Clone, variable: str, arguments: list[str]
) -> None:
    clone.deploy(*arguments, PROFILES=variable)

    assert clone.stack.keys() == {"api", "nginx", "postgres"}


def test_a_running_profile_is_removed_only_with_prune(clone: Clone) -> None:
    running = "lightbox_api lightbox_nginx lightbox_postgres"
    told = clone.refuse(RUNNING=running)
    assert told.startswith("deploy/swarm/deploy: What runs has postgres, of the profile full")

    clone.deploy("--prune", RUNNING=running)

    assert "--prune" in clone.given("docker")
    assert clone.stack.keys() == {"api", "nginx"}


@pytest.mark.parametrize(
    ("nodes", "labelled", "updated"),
    [("one", "", ["node", "update", "--label-add", "lightbox=data", "one"]), ("one two", "two", [])],
    ids=["the only node", "the node with the label"],
)
def test_the_node_for_the_data_is_found(clone: Clone, nodes: str, labelled: str, updated: list[str]) -> None:
    clone.deploy("full", NODES=nodes, LABELLED=labelled)

    assert clone.given("node") == updated


@pytest.mark.parametrize(
    ("labelled", "command"),
    [
        ("", "docker node update --label-add lightbox=data NODE"),
        ("one two", "docker node update --label-rm lightbox NODE"),
    ],
    ids=["none", "two"],
)
def test_the_operator_chooses_the_node_for_the_data_among_several(clone: Clone, labelled: str, command: str) -> None:
    assert command in clone.refuse("full", NODES="one two", LABELLED=labelled)


@pytest.mark.parametrize("v2", ["", "yes"])
def test_an_error_of_compose_is_shown_alone(clone: Clone, v2: str) -> None:
    assert clone.refuse(V2=v2, BROKEN="yes") == "services.api is invalid\n"


def test_a_python_without_yaml_is_named_with_what_to_install(clone: Clone) -> None:
    # Compose 1.29 prints YAML. Without site packages (-S) there is no PyYAML.
    (clone.path / "programs" / "docker-compose").write_text("#!/bin/sh\necho services: {}\n")

    [line] = clone.refuse(PYTHON_FLAGS="-S").splitlines()

    assert "has no PyYAML" in line
    assert "python3-yaml" in line
