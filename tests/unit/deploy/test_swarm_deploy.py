"""`deploy/swarm/deploy` reads what Compose reads, and hands a stack to Docker."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

SWARM = Path(__file__).parents[3] / "deploy" / "swarm"
DOCUMENT = {"services": {"api": {"image": "lightbox"}}, "networks": {}, "volumes": {}}
# Stand-ins of the two commands: what they were given goes to a file, and what they are asked for to standard output.
COMPOSE = f'echo "$@" > "$SEEN/compose"\ncat <<\'END\'\n{json.dumps(DOCUMENT)}\nEND\n'
DOCKER = '[ "$1" = stack ] || exit 1\necho "$@" > "$SEEN/docker"\ncat > "$SEEN/stack"\n'


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with what the command needs, where `docker` and `docker-compose` are ours."""
    shutil.copytree(SWARM, tmp_path / "deploy" / "swarm")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in (("docker", DOCKER), ("docker-compose", COMPOSE)):
        (programs / name).write_text(f"#!/bin/sh\n{text}")
        (programs / name).chmod(0o755)
    (programs / "python3").symlink_to(sys.executable)
    return tmp_path


def deploy(clone: Path, **environment: str) -> tuple[list[str], list[str]]:
    """Runs it; returns what Compose and Docker were given."""
    path = f"{clone / 'programs'}:{os.environ['PATH']}"
    subprocess.run(
        [clone / "deploy" / "swarm" / "deploy"],
        env={**os.environ, "PATH": path, "SEEN": str(clone), **environment},
        check=True,
    )
    return (clone / "compose").read_text().split(), (clone / "docker").read_text().split()


def test_it_deploys_the_compose_file_as_a_stack_of_the_name_that_was_chosen(clone: Path) -> None:
    compose, docker = deploy(clone, LIGHTBOX_STACK="mine")

    assert compose == ["-f", "docker-compose.yml", "-f", "deploy/swarm/swarm.yml", "config"]
    assert docker[:2] == ["stack", "deploy"]
    assert docker[-1] == "mine"
    assert yaml.safe_load((clone / "stack").read_text())["services"]["api"]["image"] == "lightbox"


def test_it_reads_the_operators_own_override_where_there_is_one(clone: Path) -> None:
    (clone / "docker-compose.override.yml").touch()

    compose, _ = deploy(clone)

    assert compose[-3:] == ["-f", "docker-compose.override.yml", "config"]
