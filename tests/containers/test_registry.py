"""Both images go to a registry by one command, and run from there."""

import os
import subprocess
from collections.abc import Iterator

import pytest

from bento_service import __version__
from tests.containers.docker_cli import ROOT, container, docker

# The first test's time includes that of both images to be built, compressed and pushed.
pytestmark = pytest.mark.timeout(3000)


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    with container("registry:2", port=5000) as running:
        running.wait_ready("/v2/")
        address = running.url.removeprefix("http://")
        yield address
        for image in ("lightbox", "lightbox-dashboard"):
            for tag in ("latest", __version__):
                docker("image", "rm", "--force", f"{address}/{image}:{tag}", is_checked=False)


@pytest.fixture(scope="module")
def pushed(registry: str) -> str:
    done = subprocess.run(
        ["make", "push", f"REGISTRY={registry}"],  # noqa: S607 - the make that a person would run
        cwd=ROOT,
        env={**os.environ, "BENTOML_HOME": str(ROOT / ".cache" / "test-bentoml"), "DOCKER_BUILDKIT": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for image in ("lightbox", "lightbox-dashboard"):
        for tag in ("latest", __version__):
            docker("image", "rm", f"{registry}/{image}:{tag}")
    return registry


def test_what_was_pushed_is_pulled_and_classifies(pushed: str) -> None:
    image = f"{pushed}/lightbox:{__version__}"
    docker("pull", image)
    with container(image, "--env", "LIGHTBOX_MODELS=efficientnet_lite0") as running:
        running.wait_ready()

        assert running.classify()["predictions"]


def test_the_dashboard_that_was_pushed_is_pulled_and_starts(pushed: str) -> None:
    image = f"{pushed}/lightbox-dashboard:latest"
    docker("pull", image)
    with container(image, port=8501) as running:
        running.wait_ready("/_stcore/health")
