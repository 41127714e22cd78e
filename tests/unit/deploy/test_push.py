"""`make push` and `make push-gpu`, with fakes of Docker and BentoML that record their arguments."""

import os
import subprocess
from pathlib import Path

import pytest

from bento_service import __version__

ROOT = Path(__file__).parents[3]
SAY = '#!/bin/sh\necho "${0##*/} $*" >>"$SAID"\n'
REGISTRY = "registry.example.org/team"
IMAGES = {"push": ["lightbox", "lightbox-dashboard"], "push-gpu": ["lightbox-gpu"]}


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A virtual environment with fakes of what make runs."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("docker", "bentoml", "lightbox"):
        (programs / name).write_text(SAY)
        (programs / name).chmod(0o755)
    return tmp_path


def make(target: str, environment: Path, *variables: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in ("REGISTRY", "MAKEFLAGS")}
    # With a builder chosen, make need not ask Docker for one.
    inherited |= {"DOCKER_BUILDKIT": "1", "SAID": str(environment / "said")}
    return subprocess.run(
        ["make", target, f"BIN={environment / 'bin'}", "INSTALL=true", *variables],  # noqa: S607 - the make that a person would run
        cwd=ROOT,
        env={**inherited, "PATH": f"{environment / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("target", IMAGES)
def test_each_image_is_built_and_pushed_as_latest_and_by_version(target: str, environment: Path) -> None:
    done = make(target, environment, f"REGISTRY={REGISTRY}")
    said = (environment / "said").read_text().splitlines()
    pushed = [line.removeprefix("docker push ") for line in said if line.startswith("docker push ")]
    tagged = [line.split()[-2:] for line in said if line.startswith("docker tag ")]
    built = " ".join(line for line in said if line.startswith(("bentoml containerize", "docker build")))

    assert done.returncode == 0, done.stdout + done.stderr
    assert pushed == [f"{REGISTRY}/{image}:{tag}" for image in IMAGES[target] for tag in ("latest", __version__)]
    assert tagged == [[name.removeprefix(f"{REGISTRY}/"), name] for name in pushed]
    assert all(f"-t {local} " in f"{built} " for local, _ in tagged)


@pytest.mark.parametrize("target", IMAGES)
def test_without_a_registry_nothing_is_built(target: str, environment: Path) -> None:
    done = make(target, environment)

    assert done.returncode != 0
    assert f"make {target}: say where to, as in REGISTRY=registry.example.org/team" in done.stderr
    assert not (environment / "said").exists()
