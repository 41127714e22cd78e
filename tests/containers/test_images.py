"""What holds of both images: their size, their labels, and what is left out of the Python that they are built on."""

import json
import os
import subprocess

import pytest

from bento_service import __version__
from tests.containers.docker_cli import DASHBOARD_IMAGE, ROOT, SERVICE_IMAGE, docker

BASE = "python:3.11-slim"
OFFICIAL_BASE_BYTES = 130_000_000
"""About what python:3.11-slim has as it is published; the base here may be a stand-in for it, and larger."""
MAX_BYTES = {SERVICE_IMAGE: 700_000_000, DASHBOARD_IMAGE: 550_000_000}
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
each_image = pytest.mark.parametrize("image", [SERVICE_IMAGE, DASHBOARD_IMAGE])


def size_bytes(image: str) -> int:
    return int(docker("image", "inspect", "--format", "{{.Size}}", image))


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
    assert added_bytes <= MAX_BYTES[image] - OFFICIAL_BASE_BYTES


@each_image
@pytest.mark.parametrize("script", [LIST_INSTALLERS, LIST_UNCOMPILED], ids=["no packages", "compiled"])
def test_the_base_of_an_image_has_no_packages_and_is_compiled(image: str, script: str) -> None:
    # The interpreter that the image is built on, beside the virtual environment.
    python = ("--entrypoint", "/usr/local/bin/python3", image, "-I", "-c", script)

    assert docker("run", "--rm", "--network", "none", *python) == ""


@each_image
def test_an_images_labels_say_version_and_commit(image: str) -> None:
    labels = json.loads(docker("image", "inspect", "--format", "{{json .Config.Labels}}", image))

    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.revision"] == read_revision()
