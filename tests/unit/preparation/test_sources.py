"""Loading from each source, with random weights where real ones would need a network."""

import hashlib
import os
import subprocess
import sys
from importlib import metadata, resources
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from bento_service.domain.model_names import BUNDLED_NAMES
from bento_service.errors import ModelLoadError
from bento_service.preparation.sources.base import unknown_model
from bento_service.preparation.sources.bundled import build_bundled, weights_package
from bento_service.preparation.sources.imagenet_labels import imagenet_labels, readable_labels
from bento_service.preparation.sources.recipes import recipe_of_timm
from bento_service.preparation.sources.state_dict import read_state_dict
from bento_service.preparation.sources.timm_models import load_timm
from bento_service.preparation.sources.torchvision_models import load_torchvision


@pytest.mark.parametrize("name", BUNDLED_NAMES)
def test_a_bundled_model_has_labels_recipe_and_its_packages_licence(name: str) -> None:
    model = build_bundled(name)
    cfg = timm.get_pretrained_cfg(f"tf_{name}")

    assert cfg is not None
    assert model.recipe == recipe_of_timm(name, cfg)
    assert model.labels == imagenet_labels()
    assert model.name == name
    assert name in model.source
    licence = metadata.distribution(weights_package(name)).read_text("LICENSE")
    assert licence is not None
    assert licence.startswith("Apache Software License 2.0")
    assert model.licence == "Apache-2.0"


@pytest.mark.parametrize("name", ["zzzz", ""])
def test_a_name_without_close_matches_gets_no_suggestion(name: str) -> None:
    assert "Did you mean" not in unknown_model(name, ("resnet50",), allowed="").message


@pytest.mark.parametrize("name", BUNDLED_NAMES)
def test_every_tensor_of_the_weights_is_the_one_that_pytorch_reads(name: str) -> None:
    (path,) = Path(resources.files(weights_package(name)) / "models").glob("*.pth")  # type: ignore[arg-type] # no ZIP
    expected = torch.load(path, weights_only=True)

    read = read_state_dict(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())

    assert list(read) == list(expected)
    for key, tensor in expected.items():
        np.testing.assert_array_equal(read[key], tensor.numpy(), strict=True)


def test_a_timm_model_has_recipe_labels_and_licence() -> None:
    model = load_timm("timm/resnet18.a1_in1k", is_pretrained=False)

    assert (model.source, model.licence) == ("timm resnet18.a1_in1k", "apache-2.0")
    assert (model.recipe.height_px, model.recipe.crop_fraction) == (224, 0.95)
    assert model.labels[285] == "Egyptian cat"
    assert model.module(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)
    assert not model.module.training


def test_a_timm_name_without_a_tag_means_its_default_weights() -> None:
    assert load_timm("timm/resnet18", is_pretrained=False).source.startswith("timm resnet18.")


def test_a_timm_model_without_classes_is_refused() -> None:
    with pytest.raises(ModelLoadError, match="names no classes"):
        load_timm("timm/vit_base_patch16_clip_224.openai", is_pretrained=False)


def test_a_torchvision_model_has_the_transform_of_its_weights() -> None:
    model = load_torchvision("torchvision/mobilenet_v3_small", is_pretrained=False)

    assert (model.source, model.licence) == ("torchvision mobilenet_v3_small IMAGENET1K_V1", "unknown")
    assert model.recipe.interpolation == "bilinear"
    assert model.labels[285] == "Egyptian cat"
    assert model.module(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)


def test_a_torchvision_model_that_is_no_classifier_is_unknown() -> None:
    with pytest.raises(ModelLoadError, match="Did you mean 'torchvision/"):
        load_torchvision("torchvision/fcn_resnet50", is_pretrained=False)


@pytest.mark.parametrize("name", ["timm/resnet18.a1_in1k", "torchvision/resnet18"])
def test_without_a_network_bundled_models_are_named(name: str, tmp_path: Path) -> None:
    script = f"""
from bento_service.errors import ModelLoadError
from bento_service.preparation.prepare import load_model
try:
    load_model({name!r})
except ModelLoadError as error:
    print(error.message)
"""
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "https_proxy"), "http://127.0.0.1:9")
    caches = {"HF_HOME": str(tmp_path), "TORCH_HOME": str(tmp_path), "NO_PROXY": "", "no_proxy": ""}

    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **proxies, **caches},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )

    assert f"The weights of '{name}' could not be downloaded" in done.stdout
    assert "efficientnet_lite0, efficientnet_lite1, efficientnet_lite2" in done.stdout
    assert str(tmp_path) in done.stdout


def test_the_labels_of_imagenet_are_distinct() -> None:
    labels = imagenet_labels()

    assert len(set(labels)) == len(labels) == 1000
    assert (labels[285], labels[967], labels[812]) == ("Egyptian cat", "espresso", "space shuttle")


@pytest.mark.parametrize(
    ("descriptions", "definitions", "expected"),
    [
        (["tabby, tabby cat", "tench"], ["a cat", "a fish"], ("tabby", "tench")),
        (["maillot", "maillot, tank suit"], ["tights", "a bathing suit"], ("maillot", "maillot, tank suit")),
        (["crane", "crane"], ["large bird of marshes", "lifts; has a jib"], ("crane (large bird)", "crane (lifts)")),
    ],
)
def test_a_label_is_the_shortest_name_that_no_other_class_has(
    descriptions: list[str], definitions: list[str], expected: tuple[str, ...]
) -> None:
    assert readable_labels(descriptions, definitions) == expected
