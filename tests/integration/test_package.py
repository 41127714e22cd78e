"""The package as people install it: a wheel in an empty environment, used from a folder of theirs."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests
from playwright.sync_api import expect

from dashboard.gallery import FOLDER
from tests.browser.chromium import open_chromium, open_page
from tests.fakes.processes import is_running
from tests.integration.running_service import STOP_TIMEOUT_S, RunningService, free_port, wait_until

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[2]
NO_PART_OF_IT = shutil.ignore_patterns(".*cache*", ".venv", ".git", "tests", "bench", "docs", "build", "*.egg-info")
THEIRS = (
    "bento_service.py",
    "dashboard/__init__.py",
    "lightbox_client/__init__.py",
    "numpy.py",
    "random.py",
    "service.py",
)
"""Names of modules that ours, libraries and Python itself have, in the folder of the user."""
COMMANDS = ("classify", "bench", "models", "models prepare", "serve", "dashboard", "up")


@pytest.fixture(scope="module")
def lightbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, in an environment that has the wheel of this checkout and what it depends on, and nothing else."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        if os.environ.get("CI"):
            pytest.fail("uv is not installed")
        pytest.skip("uv is not installed")
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(ROOT, folder / "checkout", ignore=NO_PART_OF_IT)
    python = folder / "venv" / "bin" / "python"

    def run(*arguments: object) -> None:
        done = subprocess.run([uv, *map(str, arguments), "--quiet"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    # The wheel is made of the source distribution, as an index would have it.
    run("build", folder / "checkout", "--out-dir", folder / "dist")
    run("venv", folder / "venv", "--python", sys.executable)
    # The versions of the lock, so that a library's new release does not fail the test.
    locked = ROOT / "requirements.lock"
    run("pip", "install", "--python", python, "--constraints", locked, *(folder / "dist").glob("*.whl"))
    return python.with_name("lightbox")


def environment_of(folder: Path) -> dict[str, str]:
    """Variables of a user who has only the package, and a home of their own."""
    inherited = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "BENTOML_HOME"}}
    return {**inherited, "HOME": str(folder / "home"), "LIGHTBOX_DATA_DIR": "data", "PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="module")
def up(lightbox: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningService, str]]:
    """`lightbox up` from a folder of the user's, with one model that it brings in, and the dashboard's address."""
    folder = tmp_path_factory.mktemp("user")
    for name in THEIRS:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("raise SystemExit(f'{__file__} was imported')")
    port, dashboard_port = free_port(), free_port()
    log = folder / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [lightbox, "up", "--port", str(port), "--dashboard-port", str(dashboard_port)],
            cwd=folder,
            env={**environment_of(folder), "LIGHTBOX_MODELS": "efficientnet_lite0"},
            stdout=output,
            stderr=output,
        )
    running = RunningService(process, f"http://127.0.0.1:{port}", folder / "data", log)
    try:
        running.wait_for("/readyz")
        yield running, f"http://127.0.0.1:{dashboard_port}"
    finally:
        if process.poll() is None:
            running.terminate()


def test_the_package_serves_from_any_folder(up: tuple[RunningService, str]) -> None:
    service, dashboard_url = up

    answer = requests.post(f"{service.url}/v1/classify", data=(FOLDER / "chelsea.png").read_bytes(), timeout=60).json()

    assert answer["predictions"][0]["class_id"] in range(281, 286)
    assert requests.get(dashboard_url, timeout=60).status_code == 200
    wait_until(lambda: list(service.journal_outcomes()) == [answer["request_id"]])


@pytest.mark.browser
def test_the_packages_dashboard_has_its_samples(up: tuple[RunningService, str]) -> None:
    with open_chromium() as browser, open_page(browser, f"{up[1]}/?sample=coffee") as page:
        expect(page.get_by_test_id("stVegaLiteChart").first).to_be_visible()


def test_the_package_stops_on_sigterm_and_leaves_nothing_behind(up: tuple[RunningService, str]) -> None:
    service, _ = up
    started = psutil.Process(service.process.pid).children(recursive=True)

    service.process.send_signal(signal.SIGTERM)

    assert service.process.wait(STOP_TIMEOUT_S) == 0
    assert len(started) >= 3
    wait_until(lambda: not [process for process in started if is_running(process.pid)])


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself_without_an_extra(lightbox: Path, command: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [lightbox, *command.split(), "--help"], env=environment_of(tmp_path), capture_output=True, text=True, check=True
    )

    assert f"lightbox {command}" in done.stdout


def test_a_model_that_needs_pytorch_names_the_extra_and_the_line(lightbox: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [lightbox, "models", "prepare", "timm/resnet18"],
        cwd=tmp_path,
        env=environment_of(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(
        f"run `uv pip install --python {lightbox.parents[1]} 'lightbox-serving[torch]'`."
    )
