"""The operator's page on Kubernetes agrees with deploy/kubernetes."""

import re
from pathlib import Path

import pytest
import yaml

from bento_service import __version__
from tests.unit.deploy.kustomization import KUBERNETES, render

PAGE = KUBERNETES.parents[1] / "docs" / "operations-kubernetes.md"
OPERATIONS = PAGE.with_name("operations.md")
OVERLAYS = re.findall(r"```yaml\n# deploy/kubernetes/(\S+)\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.parametrize(("path", "text"), OVERLAYS, ids=[path for path, _ in OVERLAYS])
def test_an_overlay_of_the_page_renders_as_it_says(clone: Path, path: str, text: str) -> None:
    (clone / path).parent.mkdir(exist_ok=True)
    (clone / path).write_text(text)
    rendered = render((clone / path).parent)
    wanted = yaml.safe_load(text)

    for image in wanted.get("images", ()):
        name = image["name"].replace("lightbox", "lightbox-api") if image["name"] == "lightbox" else image["name"]
        assert rendered.container(name)["image"] == f"{image['newName']}:{image['newTag']}"
    for settings in wanted["configMapGenerator"]:
        given = dict(literal.split("=", 1) for literal in settings["literals"])
        assert given.items() <= rendered.environment(settings["name"]).items()


def test_the_page_names_existing_folders_and_files() -> None:
    page = PAGE.read_text()
    named = set(re.findall(r"`((?:overlays|components)/[\w-]+)`", page)) | {"base"}
    files = set(re.findall(r"deploy/kubernetes/([\w/-]+\.yaml)", page)) - {path for path, _ in OVERLAYS}

    assert {"overlays/gpu", "components/models"} <= named
    assert files
    assert [name for name in named | files if not (KUBERNETES / name).exists()] == []


def test_the_page_names_the_images_that_make_pushes() -> None:
    [registry] = set(re.findall(r"make push REGISTRY=([^\s`]+)", PAGE.read_text() + OPERATIONS.read_text()))
    images = [image for _, text in OVERLAYS for image in yaml.safe_load(text).get("images", ())]

    assert images
    assert {image["newName"] for image in images} == {f"{registry}/{image['name']}" for image in images}
    assert {image["newTag"] for image in images} == {__version__}
    assert set(re.findall(r"FROM (\S+?)`", PAGE.read_text())) == {f"{registry}/lightbox:{__version__}"}
