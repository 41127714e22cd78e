"""What both images hold, who may write it, what a change of code sends again; how the dashboard starts and ends."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from bento_service import __version__
from tests.containers.docker_cli import (
    DASHBOARD_IMAGE,
    HARDENED,
    ROOT,
    SERVICE_IMAGE,
    container,
    docker,
    temporary_image,
)

# Several waits in each, none of which is to be cut short on a slow machine.
pytestmark = pytest.mark.timeout(900)

BASE = "python:3.11-slim"
MAX_ADDED_BYTES = {SERVICE_IMAGE: 450_000_000, DASHBOARD_IMAGE: 420_000_000}
MAX_RESENT_BYTES = 5_000_000
ENDED_BY_SIGTERM = 128 + 15
LIST_UNCOMPILED = """
import importlib.util, pathlib, sysconfig
library = pathlib.Path(sysconfig.get_path("stdlib"))
modules = [*library.glob("*.py"), *library.glob("asyncio/*.py"), *library.glob("email/*.py")]
assert modules
print(*[module for module in modules if not pathlib.Path(importlib.util.cache_from_source(module)).exists()])
"""
LIST_INSTALLERS = """
import importlib.metadata, importlib.util
print(*[package.name for package in importlib.metadata.distributions()])
print(*[name for name in ("pip", "setuptools", "wheel", "ensurepip") if importlib.util.find_spec(name)])
"""
ABSENT = {
    SERVICE_IMAGE: ("torch", "timm", "pip", "streamlit"),
    DASHBOARD_IMAGE: ("torch", "bentoml", "bento_service", "openvino", "pip"),
}
FIND_WRITABLE = {
    SERVICE_IMAGE: "find /app /usr -writable -not -type l | head -3",
    DASHBOARD_IMAGE: "find /app /opt/venv -writable -not -type l | head -3",
}
each_image = pytest.mark.parametrize("image", [SERVICE_IMAGE, DASHBOARD_IMAGE])


def run_in(image: str, program: str, *arguments: str, user: str = "") -> str:
    """Run a program in a new container, as the image's user or another one."""
    options = ("--user", user) if user else ()
    return docker("run", "--rm", "--network", "none", *options, "--entrypoint", program, image, *arguments)


def size_bytes(image: str) -> int:
    return int(docker("image", "inspect", "--format", "{{.Size}}", image))


def layers(image: str) -> list[str]:
    return list(json.loads(docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", image)))


def list_layer_sizes(image: str) -> list[tuple[int, str]]:
    """The bytes of each layer and the command that made it, newest first; an imported base names no command.

    Steps of no size made no layer.
    """
    printed = docker("history", "--no-trunc", "--human=false", "--format", "{{.Size}} {{.CreatedBy}}", image)
    lines = (line.partition(" ") for line in printed.splitlines())
    return [(int(size), made_by) for size, _, made_by in lines if size != "0"]


def read_revision() -> str:
    """The commit that the images were made of: what `make test-containers` says, or else what is checked out."""
    if made_of := os.environ.get("REVISION"):
        return made_of
    command = ["git", "rev-parse", "HEAD"]  # the git on the path
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


@each_image
def test_an_image_adds_less_to_its_base_than_the_limit(image: str) -> None:
    added_bytes = size_bytes(image) - size_bytes(BASE)

    print(f"{image}: {size_bytes(image):,} bytes, of which {added_bytes:,} are not of {BASE}")
    assert added_bytes <= MAX_ADDED_BYTES[image]


@each_image
@pytest.mark.parametrize("script", [LIST_INSTALLERS, LIST_UNCOMPILED], ids=["no packages", "compiled"])
def test_the_base_of_an_image_has_no_packages_and_is_compiled(image: str, script: str) -> None:
    # The interpreter that the image is built on, beside the virtual environment.
    assert run_in(image, "/usr/local/bin/python3", "-I", "-c", script) == ""


@each_image
def test_an_images_labels_say_version_and_commit(image: str) -> None:
    labels = json.loads(docker("image", "inspect", "--format", "{{json .Config.Labels}}", image))

    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.revision"] == read_revision()


@each_image
def test_an_image_runs_as_a_user_who_cannot_change_it(image: str) -> None:
    assert run_in(image, "sh", "-c", "id -u; id -g").split() == ["1034", "1034"]
    assert run_in(image, "sh", "-c", FIND_WRITABLE[image]) == ""


@each_image
def test_an_image_holds_only_its_own_packages(image: str) -> None:
    script = f"import importlib.util as u; print([name for name in {ABSENT[image]} if u.find_spec(name)])"

    assert run_in(image, "python", "-c", script) == "[]"


def test_the_service_image_has_no_torch_program() -> None:
    assert run_in(SERVICE_IMAGE, "find", "/app", "-name", "*.pt2") == ""


def test_the_service_image_has_no_compiler_and_no_installer() -> None:
    find = "for tool in gcc cc g++ make git uv pip pip3; do command -v $tool; done; true"

    assert run_in(SERVICE_IMAGE, "sh", "-c", find) == ""


@pytest.fixture(scope="module")
def changed_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
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


@pytest.fixture(scope="module")
def private_dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image, built from a checkout that only its owner may read."""
    folder = tmp_path_factory.mktemp("private")
    for name in ("Dockerfile.dashboard", ".dockerignore", "requirements-dashboard.txt", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    for name in ("dashboard", "lightbox_client"):
        shutil.copytree(ROOT / name, folder / name)
        # What is installed from stays as it is: with other rights all of it would be installed anew.
        subprocess.run(["chmod", "-R", "go-rwx", folder / name], check=True)  # noqa: S607 - the chmod on the path
    with temporary_image() as image:
        docker("build", "--file", f"{folder}/Dockerfile.dashboard", "--tag", image, str(folder), timeout_s=900)
        yield image


@pytest.mark.timeout(1200)
def test_a_change_of_the_service_sends_no_library_or_model_again(changed_service: str) -> None:
    kept = set(layers(SERVICE_IMAGE)) & set(layers(changed_service))
    new = len(layers(changed_service)) - len(kept)
    resent_bytes = sum(size for size, _ in list_layer_sizes(changed_service)[:new])

    print(f"{resent_bytes:,} bytes in {new} new layers")
    assert layers(changed_service)[: len(kept)] == layers(SERVICE_IMAGE)[: len(kept)]
    assert 0 < resent_bytes <= MAX_RESENT_BYTES


def test_a_change_of_the_dashboard_sends_its_code_only() -> None:
    size, made_by = list_layer_sizes(DASHBOARD_IMAGE)[0]

    assert "/app" in made_by
    assert 0 < size <= MAX_RESENT_BYTES


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("user", ["1034:1034", "12345:12345"])
def test_any_user_can_read_the_service_whatever_the_builders_umask(changed_service: str, user: str) -> None:
    assert run_in(changed_service, "find", "/app", "-not", "-readable", user=user) == ""


@pytest.mark.timeout(1200)
def test_the_user_can_read_the_dashboard_whatever_the_builders_umask(private_dashboard: str) -> None:
    assert run_in(private_dashboard, "find", "/app", "-not", "-readable") == ""


def test_the_dashboard_is_healthy_on_a_read_only_file_system_and_ends() -> None:
    with container(DASHBOARD_IMAGE, *HARDENED, port=8501) as dashboard:
        dashboard.wait_health("healthy")
        dashboard.wait_ready("/_stcore/health")
        assert "Traceback" not in dashboard.logs()
        dashboard.stop()

        assert dashboard.exit_code in (0, ENDED_BY_SIGTERM), "137: it was killed"
