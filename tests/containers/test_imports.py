"""A model of one's own in containers: imported by one, served and promoted on others, baked into an image."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from bento_service.models.store import BentoModelStore
from tests.containers.docker_cli import (
    HARDENED,
    ROOT,
    SERVICE_IMAGE,
    Container,
    container,
    docker,
    temporary_image,
    unique_name,
    wait_until,
)
from tests.containers.tiny_onnx import LABELS, write_onnx

# Several waits in each, none of which is to be cut short on a slow machine.
pytestmark = pytest.mark.timeout(1200)
USER = 12345
PASSWORD = "f0rTests0nly"  # noqa: S105 - of a database that lives as long as this test
CONVERGED_S = 2.0
POSTGRES = ("POSTGRES_USER=lightbox", "POSTGRES_DB=lightbox", f"POSTGRES_PASSWORD={PASSWORD}")


@dataclass(frozen=True)
class Shelf:
    """A folder with a person's files, and the store that is mounted at /models. Both belong to `USER`."""

    work: Path
    models: Path

    def import_model(self, answer: str) -> str:
        """Import a file by the command that the documentation shows; return the new version."""
        write_onnx(self.work / "pets.onnx", answer)
        mounts = ("--volume", f"{self.work}:/work:ro", "--volume", f"{self.models}:/models")
        flags = ("--labels", "/work/labels.txt", "--recipe", "imagenet")
        command = ("models", "import", "/work/pets.onnx", "--name", "pets", *flags)
        docker("run", "--rm", "--user", f"{USER}:{USER}", "--network", "none", *mounts, SERVICE_IMAGE, *command)
        return BentoModelStore(self.models).load("pets").card.version


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    shelf = Shelf(tmp_path / "work", tmp_path / "models")
    for folder in (shelf.work, shelf.models):
        folder.mkdir()
        os.chown(folder, USER, USER)
    (shelf.work / "labels.txt").write_text("\n".join(LABELS))
    tmp_path.chmod(0o755)
    return shelf


def best_label(running: Container, model: str = "pets") -> str:
    """The class that a model gives to a photograph."""
    photograph = (ROOT / "dashboard" / "samples" / "chelsea.png").read_bytes()
    answer = requests.post(f"{running.url}/v1/classify", params={"model": model}, data=photograph, timeout=60).json()
    return str(answer["predictions"][0]["label"])


def test_a_file_is_imported_by_another_user_whom_its_files_belong_to_and_served(shelf: Shelf) -> None:
    version = shelf.import_model("dog")

    stored = [*shelf.models.rglob("*")]
    assert {path.stat().st_uid for path in stored} == {USER}
    # Measured on the photographs that the image brings along.
    assert BentoModelStore(shelf.models).load("pets").parities["openvino"].crops == 200
    options = ("--volume", f"{shelf.models}:/models:ro", "--env", "LIGHTBOX_MODELS=pets")
    with container(SERVICE_IMAGE, *HARDENED, *options) as running:
        running.wait_ready()
        (card,) = requests.get(f"{running.url}/v1/models", timeout=30).json()["models"]

        assert (card["name"], card["version"]) == ("pets", version)
        assert card["found_in"]["labels"]
        assert best_label(running) == "dog"


@contextmanager
def baked(tmp_path: Path, shelf: Shelf) -> Iterator[str]:
    """An image with `pets` inside, by what `make image MODELS=pets` runs."""
    home = tmp_path / "home"
    environment = {
        **os.environ,
        "BENTOML_HOME": str(home),
        "DOCKER_BUILDKIT": "0",
        "LIGHTBOX_MODEL_STORE": str(shelf.models),
        "PYTHONPATH": str(ROOT),
    }

    def run(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    bentofile = run("deploy.bento", "pets").splitlines()[-1]
    tag = run("bentoml", "build", "-f", bentofile, "--output", "tag").rpartition("__tag__:")[2]
    with temporary_image() as image:
        run("bentoml", "containerize", tag, "-t", image)
        yield image


def test_a_model_is_baked_into_an_image_that_serves_it_without_a_volume(tmp_path: Path, shelf: Shelf) -> None:
    shelf.import_model("ferret")
    with baked(tmp_path, shelf) as image, container(image, *HARDENED, "--network", "none", publish=False) as running:
        running.wait_health("healthy")

        listed = running.run("python", "-m", "bento_service", "models", "--url", "http://127.0.0.1:3000")

    assert "pets" in listed
    assert "efficientnet" not in listed


@contextmanager
def replicas(shelf: Shelf) -> Iterator[tuple[Container, Container, Container]]:
    """Three replicas on one database; the last of them lacks the store."""
    network = unique_name()
    docker("network", "create", network)
    with ExitStack() as stack:
        stack.callback(docker, "network", "rm", network, is_checked=False)
        settings = (argument for variable in POSTGRES for argument in ("--env", variable))
        database = stack.enter_context(container("postgres:15-alpine", *settings, "--network", network, publish=False))
        ready = ("pg_isready", "-q", "-h", "127.0.0.1", "-U", "lightbox", "-d", "lightbox")
        asked = ("exec", database.name, *ready)
        wait_until(lambda: subprocess.run(["docker", *asked], check=False).returncode == 0, "PostgreSQL answers")  # noqa: S607
        variables = {
            "LIGHTBOX_MODELS": "pets,efficientnet_lite0",
            "LIGHTBOX_DEFAULT_MODEL": "efficientnet_lite0",
            "LIGHTBOX_MODEL_CONTROL": "explicit",
            "LIGHTBOX_ALLOW_ANONYMOUS": "true",
            "LIGHTBOX_JOURNAL_URL": f"postgresql://lightbox:{PASSWORD}@{database.name}:5432/lightbox",
        }
        options = [*HARDENED, "--network", network]
        for name, value in variables.items():
            options += ["--env", f"{name}={value}"]
        store = ("--volume", f"{shelf.models}:/models:ro")
        started = [stack.enter_context(container(SERVICE_IMAGE, *options, *mounts)) for mounts in (store, store, ())]
        for replica in started:
            replica.wait_ready()
        first, second, without = started
        yield first, second, without


def change(replica: Container, action: str, version: str) -> None:
    answer = requests.post(f"{replica.url}/v1/models/pets/{action}", json={"version": version}, timeout=30)
    assert answer.status_code == 202, answer.text


def versions(replica: Container) -> dict[str, Any]:
    """What the registry says of `pets`, by version."""
    shown = requests.get(f"{replica.url}/v1/models/pets/versions", timeout=30).json()
    return {version["version"]: version for version in shown["versions"]}


def test_replicas_follow_a_promotion_and_the_one_without_the_files_says_why_it_failed(shelf: Shelf) -> None:
    shelf.import_model("cat")
    with replicas(shelf) as (first, second, without):
        assert [best_label(replica) for replica in (first, second)] == ["cat", "cat"]
        better = shelf.import_model("dog")

        change(first, "load", better)
        wait_until(lambda: versions(second)[better]["workers"].get("READY") == 2, "both have loaded it")
        change(second, "promote", better)
        promoted_s = time.monotonic()
        wait_until(lambda: [best_label(replica) for replica in (first, second)] == ["dog", "dog"], "both serve it")
        took_s = time.monotonic() - promoted_s

        failed = versions(first)[better]
        assert failed["state"] == "FAILED"
        assert "not in the model store" in failed["reason"]
        assert best_label(without, "efficientnet_lite0")
        print(f"both replicas served the new version {took_s:.2f} s after its promotion")
        assert took_s < CONVERGED_S

        answer = requests.post(f"{first.url}/v1/models/pets/rollback", timeout=30)
        assert answer.status_code == 202, answer.text
        wait_until(lambda: [best_label(replica) for replica in (first, second)] == ["cat", "cat"], "both are back")
