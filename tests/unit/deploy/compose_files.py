"""The Compose files with their variables not yet filled in, and the programs that read them."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
COMPOSE = ROOT / "docker-compose.yml"
GPU = ROOT / "docker-compose.gpu.yml"
SWARM = ROOT / "deploy" / "swarm" / "swarm.yml"
EXAMPLE = ROOT / ".env.example"
NGINX = ROOT / "deploy" / "nginx"

_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)(:-([^}]*))?\}")


def services_of(path: Path) -> dict[str, dict[str, Any]]:
    """The services of a Compose file, by name."""
    services: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text())["services"]
    return services


def variables_of(path: Path) -> dict[str, str | None]:
    """The variables of a Compose file and their defaults; None where there is no default."""
    return {found[1]: found[3] if found[2] else None for found in _VARIABLE.finditer(path.read_text())}


def with_defaults(text: str) -> str:
    """A text of a Compose file where no variable is set."""
    return _VARIABLE.sub(lambda found: found[3] or "", text)


every_compose = pytest.mark.parametrize("command", [("docker", "compose"), ("docker-compose",)], ids=" ".join)


def run_compose(command: tuple[str, ...], *arguments: str) -> str:
    """The output of a Compose program without any of our variables; skips the test where it is not installed."""
    version = [*command, "version"]
    if shutil.which(command[0]) is None or subprocess.run(version, capture_output=True, check=False).returncode:
        pytest.skip(f"{' '.join(command)} is not installed")
    unset = {name: value for name, value in os.environ.items() if not name.startswith(("LIGHTBOX_", "COMPOSE_"))}
    done = subprocess.run([*command, *arguments], env=unset, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
