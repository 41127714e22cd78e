"""What is in the dashboard's image, and how its container starts and ends."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.docker_cli import DASHBOARD_IMAGE, HARDENED, ROOT, Container, container, docker, temporary_image

# Several waits in each, none of which is to be cut short on a slow machine.
pytestmark = pytest.mark.timeout(900)

MAX_CODE_BYTES = 5_000_000
ENDED_BY_SIGTERM = 128 + 15


@pytest.fixture(scope="module")
def dashboard() -> Iterator[Container]:
    """One on a read-only file system, without a service to ask."""
    with container(DASHBOARD_IMAGE, *HARDENED, port=8501) as running:
        yield running


def test_a_change_of_code_sends_the_code_only() -> None:
    history = docker("history", "--no-trunc", "--human=false", "--format", "{{.Size}} {{.CreatedBy}}", DASHBOARD_IMAGE)
    # Newest first, with a line for every instruction; those of no size made no layer.
    size, made_by = next(line.split(" ", 1) for line in history.splitlines() if not line.startswith("0 "))

    assert "/app" in made_by
    assert 0 < int(size) <= MAX_CODE_BYTES


@pytest.mark.parametrize("package", ["torch", "bentoml", "bento_service", "openvino", "pip"])
def test_it_holds_nothing_of_the_service_and_no_installer(package: str) -> None:
    script = f"import importlib.util as u; print(u.find_spec({package!r}))"
    found = docker("run", "--rm", "--network", "none", "--entrypoint", "python", DASHBOARD_IMAGE, "-c", script)

    assert found == "None"


@pytest.fixture
def private_image(tmp_path: Path) -> Iterator[str]:
    """The image, built from a checkout that only its owner may read."""
    for name in ("Dockerfile.dashboard", ".dockerignore", "requirements-dashboard.txt", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("dashboard", "lightbox_client"):
        shutil.copytree(ROOT / name, tmp_path / name)
        # What pip reads stays as it is: with other rights all of it would be installed anew.
        subprocess.run(["chmod", "-R", "go-rwx", tmp_path / name], check=True)  # noqa: S607 - the chmod on the path
    with temporary_image() as image:
        docker("build", "--file", f"{tmp_path}/Dockerfile.dashboard", "--tag", image, str(tmp_path), timeout_s=900)
        yield image


@pytest.mark.timeout(1200)
def test_the_user_can_read_everything_whatever_the_builders_umask(private_image: str) -> None:
    find = ("--entrypoint", "find", private_image, "/app", "-not", "-readable")

    assert docker("run", "--rm", "--network", "none", *find) == ""


def test_it_becomes_healthy_on_a_read_only_file_system(dashboard: Container) -> None:
    dashboard.wait_health("healthy")

    dashboard.wait_ready("/_stcore/health")
    assert "Traceback" not in dashboard.logs()


def test_it_runs_as_an_own_user_who_does_not_own_its_code(dashboard: Container) -> None:
    assert (dashboard.run("id", "-u"), dashboard.run("id", "-g")) == ("1034", "1034")
    assert dashboard.run("find", "/app", "/opt/venv", "-user", "1034") == ""


def test_it_ends_when_it_is_asked_to() -> None:
    with container(DASHBOARD_IMAGE, *HARDENED, port=8501) as ending:
        ending.wait_ready("/_stcore/health")
        ending.stop()

        assert ending.exit_code in (0, ENDED_BY_SIGTERM), "137: it was killed"
