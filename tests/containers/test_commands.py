"""Commands over a mounted folder, as a person runs them who has the image and nothing else."""

import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.containers.docker_cli import ROOT, SERVICE_IMAGE, docker

USER = 12345
SAMPLES = {"macaw": "macaws.png", "espresso": "coffee.png", "tiger cat": "chelsea.png"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a subfolder of photographs for each class; it belongs to `USER`."""
    for label, name in SAMPLES.items():
        (tmp_path / "photos" / label).mkdir(parents=True)
        shutil.copy(ROOT / "dashboard" / "samples" / name, tmp_path / "photos" / label)
    os.chown(tmp_path, USER, USER)
    tmp_path.chmod(0o755)
    return tmp_path


def run(folder: Path, *command: str) -> str:
    options = ("--rm", "--user", f"{USER}:{USER}", "--network", "none", "--volume", f"{folder}:/work")
    return docker("run", *options, SERVICE_IMAGE, *command)


def test_an_image_is_explained_into_a_picture_of_the_callers(folder: Path) -> None:
    printed = run(folder, "explain", "--local", "/work/photos/espresso/coffee.png", "--out", "/work/map.png")

    assert "espresso" in printed
    assert "class activation map" in printed
    assert Image.open(folder / "map.png").size == Image.open(folder / "photos" / "espresso" / "coffee.png").size
    assert (folder / "map.png").stat().st_uid == USER


def test_a_model_is_evaluated_into_reports_of_the_callers(folder: Path) -> None:
    reports = ("--html", "/work/report.html", "--json", "/work/report.json")

    printed = run(folder, "evaluate", "efficientnet_lite0", "/work/photos", "--local", *reports)

    assert "right on 100.0% of 3 photographs" in printed
    assert json.loads((folder / "report.json").read_text())["models"][0]["figures"]["accuracy"]["value"] == 1
    assert {(folder / f"report.{suffix}").stat().st_uid for suffix in ("html", "json")} == {USER}
