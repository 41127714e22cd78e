"""The bento that `bentoml build` makes: it answers with the models it was built with."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests
import yaml

from bento_service.models.stored_files import bento_name
from bento_service.settings import Settings
from tests.integration.running_service import RunningService, free_port, make_home

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(600)
def test_a_built_bento_serves_the_models_inside(
    bentoml_home: Path, tmp_path: Path, photographs: tuple[Path, ...]
) -> None:
    environment = {**os.environ, "BENTOML_HOME": str(make_home(tmp_path)), "LIGHTBOX_DATA_DIR": str(tmp_path)}
    bentoml = [sys.executable, "-m", "bentoml"]
    built = subprocess.run(
        [*bentoml, "build", "--output", "tag"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    tag = built.stdout.strip().rpartition("__tag__:")[2]
    port = free_port()
    log = tmp_path / "bento.log"

    # From an empty folder, so that nothing of the checkout is on the path.
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*bentoml, "serve", tag, "--port", str(port), "--host", "127.0.0.1"],
            cwd=tmp_path,
            env=environment,
            stdout=output,
            stderr=output,
        )
    service = RunningService(process, f"http://127.0.0.1:{port}", tmp_path, log)
    try:
        service.wait_for("/readyz")
        chelsea = next(path for path in photographs if path.name == "chelsea.png")
        answer = requests.post(f"{service.url}/v1/classify", files={"image": chelsea.read_bytes()}).json()
        models = requests.get(f"{service.url}/v1/models").json()["models"]
    finally:
        service.terminate()
        subprocess.run([*bentoml, "delete", "--yes", tag], env=environment, check=True, capture_output=True)

    assert answer["predictions"][0]["class_id"] in range(281, 286)
    assert len(models) == 3


def test_making_the_bento_prepares_the_models_of_its_file() -> None:
    environment = {**os.environ, "LIGHTBOX_MODELS": "timm/resnet50"}
    listed = yaml.safe_load((ROOT / "bentofile.yaml").read_text())["models"]

    planned = subprocess.run(
        ["make", "--dry-run", "bento"],  # noqa: S607 - the make that a person would run
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )

    (command,) = [line for line in planned.stdout.splitlines() if "models prepare" in line]
    prepared = command.partition("models prepare ")[2].split()
    assert [f"{bento_name(name)}:latest" for name in prepared] == listed
    assert tuple(prepared) == Settings.model_fields["models"].default
