"""The service's container, as `docker run` starts it: what it needs, what it answers, what it keeps."""

from pathlib import Path

import pytest
import requests

from bento_service import __version__
from bento_service.models.store import BentoModelStore
from bento_service.preparation.prepare import prepare_missing
from tests.containers.docker_cli import (
    CAT,
    CHELSEA,
    HARDENED,
    SERVICE_IMAGE,
    Container,
    container,
    docker,
    volume,
    wait_until,
)
from tests.unit.preparation.test_prepare import load_tiny

# Several waits in each, none of which is to be cut short on a slow machine.
pytestmark = pytest.mark.timeout(900)

ASK = """
import requests
answer = requests.post("http://127.0.0.1:3000/v1/classify", files={"image": open("/samples/chelsea.png", "rb")})
print(answer.status_code, answer.json()["predictions"][0]["class_id"])
"""


def test_it_classifies_a_photograph(service: Container) -> None:
    answer = requests.post(f"{service.url}/v1/classify", files={"image": CHELSEA.read_bytes()}, timeout=30).json()

    assert CAT.search(answer["predictions"][0]["label"])


def test_it_reports_its_version_and_both_workers(service: Container) -> None:
    assert requests.get(f"{service.url}/version", timeout=30).json()["lightbox"] == __version__
    service.wait_health("healthy")
    assert "lightbox_workers_ready 2.0" in requests.get(f"{service.url}/metrics", timeout=30).text


def test_it_downloads_nothing_and_writes_to_its_volume_only(tmp_path: Path) -> None:
    # Not even a /tmp, and no network but its own loopback.
    options = ("--read-only", "--network", "none", "--cap-drop", "ALL", "--volume", f"{CHELSEA.parent}:/samples:ro")
    with container(SERVICE_IMAGE, *options, publish=False) as alone:
        alone.wait_health("healthy")

        status, class_id = alone.run("python", "-c", ASK).split()

        assert (status, int(class_id) in range(281, 286)) == ("200", True)
        assert "WARNING" not in alone.logs()
        assert "ERROR" not in alone.logs()


def test_the_journal_outlives_the_container() -> None:
    with volume() as data:
        options = (*HARDENED, "--volume", f"{data}:/data", "--env", "LIGHTBOX_MODELS=efficientnet_lite0")
        with container(SERVICE_IMAGE, *options) as first:
            first.wait_ready()
            asked = first.classify()
            first.stop()
            assert first.exit_code == 0
        with container(SERVICE_IMAGE, *options) as second:
            second.wait_ready()
            kept = second.journal()

    assert kept == [asked["request_id"]]


def test_another_user_serves_and_keeps_a_journal() -> None:
    options = (*HARDENED, "--user", "12345:12345", "--tmpfs", "/data:uid=12345")
    with container(SERVICE_IMAGE, *options, "--env", "LIGHTBOX_MODELS=efficientnet_lite0") as running:
        running.wait_ready()
        running.wait_health("healthy")
        request_id = running.classify()["request_id"]

        wait_until(lambda: running.journal() == [request_id], "the journal has the receipt")
        assert running.run("stat", "-c", "%u", "/data/journal.sqlite3") == "12345"


def test_a_model_from_a_read_only_folder_is_served(tmp_path: Path) -> None:
    prepare_missing(
        ["tiny"],
        BentoModelStore(tmp_path / "models"),
        lambda model, step: None,
        load=load_tiny,
        measure_parity=lambda model, onnx_path: {},
    )
    tmp_path.chmod(0o755)
    options = ("--volume", f"{tmp_path / 'models'}:/models:ro", "--env", "LIGHTBOX_MODELS=tiny,efficientnet_lite0")
    with container(SERVICE_IMAGE, *HARDENED, *options) as running:
        running.wait_ready()

        models = requests.get(f"{running.url}/v1/models", timeout=30).json()["models"]

    assert [model["name"] for model in models] == ["tiny", "efficientnet_lite0"]


@pytest.mark.parametrize("options", [HARDENED, ()], ids=["read-only", "writable"])
def test_a_model_that_is_nowhere_is_named_as_the_container_ends(options: tuple[str, ...]) -> None:
    with container(SERVICE_IMAGE, *options, "--env", "LIGHTBOX_MODELS=timm/no_such_model") as failing:
        docker("wait", failing.name)

        assert failing.exit_code != 0
        assert "'timm/no_such_model' is not prepared" in failing.logs()
        assert "mount it at /models" in failing.logs()
        assert "Traceback" not in failing.logs()


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["--help"], "Run the service"),
        (["models"], "prepared"),
        (["python", "-c", "print('hello')"], "hello"),
    ],
)
def test_it_takes_subcommands_flags_and_other_programs(command: list[str], expected: str) -> None:
    assert expected in docker("run", "--rm", "--network", "none", SERVICE_IMAGE, *command)
