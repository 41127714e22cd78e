"""The operator's page on Kubernetes says what the files do."""

import re
from pathlib import Path

import pytest
import yaml

from tests.unit.deploy.kustomization import KUBERNETES, Rendered, render

PAGE = KUBERNETES.parents[1] / "docs" / "operations-kubernetes.md"
OVERLAYS = re.findall(r"```yaml\n# deploy/kubernetes/(\S+)\n(.*?)```", PAGE.read_text(), re.DOTALL)


def follow(clone: Path, path: str, text: str) -> Rendered:
    """Write the page's overlay where it says, and render it."""
    file = clone / path
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return render(file.parent)


@pytest.mark.parametrize(("path", "text"), OVERLAYS, ids=[path for path, _ in OVERLAYS])
def test_an_overlay_of_the_page_gives_what_it_says(clone: Path, path: str, text: str) -> None:
    rendered = follow(clone, path, text)
    wanted = yaml.safe_load(text)

    for image in wanted.get("images", ()):
        name = image["name"].replace("lightbox", "lightbox-api") if image["name"] == "lightbox" else image["name"]
        assert rendered.container(name)["image"] == f"{image['newName']}:{image['newTag']}"
    for settings in wanted["configMapGenerator"]:
        given = dict(literal.split("=", 1) for literal in settings["literals"])
        assert given.items() <= rendered.environment(settings["name"]).items()


def test_an_overlay_with_more_models_mounts_them(clone: Path) -> None:
    [(path, text)] = [(path, text) for path, text in OVERLAYS if "components/models" in text]
    mounts = follow(clone, path, text).container("lightbox-api")["volumeMounts"]

    assert {"name": "models", "mountPath": "/models", "readOnly": True} in mounts


def test_every_folder_and_file_that_the_page_names_is_there() -> None:
    page = PAGE.read_text()
    named = set(re.findall(r"`((?:overlays|components)/[\w-]+)`", page)) | {"base"}
    files = set(re.findall(r"deploy/kubernetes/([\w/-]+\.yaml)", page)) - {path for path, _ in OVERLAYS}

    assert {"overlays/gpu", "components/models"} <= named
    assert files
    assert [name for name in named | files if not (KUBERNETES / name).exists()] == []


def test_the_pages_figures_are_those_of_the_files(base: Rendered, gpu: Rendered) -> None:
    page = " ".join(PAGE.read_text().split())
    scaler = base.one("HorizontalPodAutoscaler")["spec"]
    percent = scaler["metrics"][0]["resource"]["target"]["averageUtilization"]

    assert f"between {scaler['minReplicas']} and {scaler['maxReplicas']} replicas at {percent} % of" in page
    assert f"`maxReplicas` is {gpu.one('HorizontalPodAutoscaler')['spec']['maxReplicas']};" in page
