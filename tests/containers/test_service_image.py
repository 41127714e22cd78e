"""What is in the service's image, and what of it a change of code sends again."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.containers.docker_cli import ROOT, SERVICE_IMAGE, docker, temporary_image

pytestmark = pytest.mark.timeout(900)
MAX_RESENT_BYTES = 5_000_000


def layers(image: str) -> list[str]:
    return list(json.loads(docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", image)))


def in_image(script: str, *options: str, image: str = SERVICE_IMAGE) -> str:
    return docker("run", "--rm", "--network", "none", *options, image, "sh", "-c", script)


def test_it_runs_as_an_own_user_who_can_write_nothing_of_it() -> None:
    assert in_image("id -u; id -g").split() == ["1034", "1034"]
    assert in_image("find /app /usr -writable -not -type l | head -3") == ""


def test_there_is_no_compiler_no_pytorch_and_no_installer_in_it() -> None:
    assert in_image("for tool in gcc cc g++ make git uv pip pip3; do command -v $tool; done; true") == ""
    for package in ("torch", "timm", "pip", "streamlit"):
        found = in_image(f"python -c 'import importlib.util as u; print(u.find_spec(\"{package}\"))'")
        assert found == "None"


@pytest.fixture(scope="module")
def changed_image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image after a change of one line of code, built by BentoML's own two commands under a umask of 077."""
    folder = tmp_path_factory.mktemp("changed")
    checkout, home = folder / "checkout", folder / "home"
    shutil.copytree(
        ROOT, checkout, ignore=shutil.ignore_patterns(".*", "tests", "docs", "bench", "*.egg-info", "__pycache__")
    )
    with (checkout / "bento_service" / "service.py").open("a") as code:
        code.write("\nCHANGED = True\n")
    shutil.copytree(ROOT / ".cache" / "test-bentoml" / "models", home / "models")
    subprocess.run(["chmod", "-R", "go-rwx", folder], check=True)  # noqa: S607 - the chmod on the path
    environment = {**os.environ, "BENTOML_HOME": str(home), "DOCKER_BUILDKIT": "0"}

    def bentoml(*arguments: str) -> str:
        command = [sys.executable, "-m", "bentoml", *arguments]
        done = subprocess.run(
            command, cwd=checkout, env=environment, umask=0o077, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    with temporary_image() as image:
        bentoml("containerize", bentoml("build", "--output", "tag").strip().rpartition("__tag__:")[2], "-t", image)
        yield image
    shutil.rmtree(folder)


@pytest.mark.timeout(1200)
def test_a_change_of_code_sends_neither_libraries_nor_models_again(changed_image: str) -> None:
    kept = set(layers(SERVICE_IMAGE)) & set(layers(changed_image))
    history = docker("history", "--no-trunc", "--human=false", "--format", "{{.Size}}", changed_image).splitlines()
    # Newest first, with a line for every instruction; those of no size made no layer.
    sizes_bytes = [int(size) for size in history if int(size)]
    resent_bytes = sum(sizes_bytes[: len(layers(changed_image)) - len(kept)])

    print(f"{resent_bytes:,} bytes in {len(layers(changed_image)) - len(kept)} new layers")
    assert layers(changed_image)[: len(kept)] == layers(SERVICE_IMAGE)[: len(kept)]
    assert 0 < resent_bytes <= MAX_RESENT_BYTES


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("user", ["1034:1034", "12345:12345"])
def test_any_user_can_read_everything_whatever_the_builders_umask(changed_image: str, user: str) -> None:
    assert in_image("find /app -not -readable", "--user", user, image=changed_image) == ""
