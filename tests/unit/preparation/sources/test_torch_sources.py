"""Weights of PyTorch from people's files, over small networks with random weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from bento_service.errors import ModelLoadError
from bento_service.preparation.sources.discovery import TimmFolder, Weights, find_source
from bento_service.preparation.sources.torch_sources import load_source
from bento_service.preparation.weights_task import convert_weights

LAYERS = "Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 6 * 6, 10))"


class Network(nn.Module):
    """A stranger's class, whose names are not those of a plain Sequential."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
        self.classifier = nn.Linear(2 * 6 * 6, 10)

    def forward(self, pixels: Any) -> Any:
        return self.classifier(self.features(pixels).flatten(1))


def convert(path: Path) -> Mapping[str, Any]:
    converted = path.with_suffix(".safetensors")
    convert_weights({"path": str(path), "converted_path": str(converted)})
    return load_file(converted)


def test_layers_take_the_tensors_of_a_strangers_network_in_their_order(tmp_path: Path) -> None:
    network, path = Network().eval(), tmp_path / "digits.pth"
    torch.save({"state_dict": network.state_dict(), "epoch": 3}, path)

    loaded = load_source(find_source(path), LAYERS)

    pixels = torch.rand(2, 1, 8, 8)
    assert (loaded.channels, loaded.classes) == (1, 10)
    assert torch.equal(loaded.module(pixels), network(pixels))


@pytest.mark.parametrize(("features", "channels"), [(784, 1), (3 * 32 * 32, 3)])
def test_the_channels_of_a_chain_that_begins_with_linear_are_those_of_an_image_with_equal_sides(
    tmp_path: Path, features: int, channels: int
) -> None:
    torch.save(nn.Sequential(nn.Flatten(), nn.Linear(features, 2)).state_dict(), tmp_path / "w.pth")

    loaded = load_source(find_source(tmp_path / "w.pth"), f"Sequential(Flatten(), Linear({features}, 2))")

    assert (loaded.channels, loaded.classes) == (channels, 2)


def test_a_chain_that_takes_no_image_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Sequential(nn.Linear(100 * 3 + 7, 2)).state_dict(), tmp_path / "w.pth")

    with pytest.raises(ModelLoadError, match="The first layer takes 307 values"):
        load_source(find_source(tmp_path / "w.pth"), "Sequential(Flatten(), Linear(307, 2))")


def test_safetensors_are_read_whatever_their_name(tmp_path: Path) -> None:
    save_file(dict(nn.Sequential(nn.Linear(4, 2)).state_dict()), tmp_path / "pytorch_model.bin")

    assert load_source(find_source(tmp_path / "pytorch_model.bin"), "Sequential(Linear(4, 2))").classes == 2


def test_layers_that_do_not_fit_are_named_with_the_tensor_that_they_meet(tmp_path: Path) -> None:
    save_file(dict(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten()).state_dict()), tmp_path / "w.safetensors")
    source = Weights(path=tmp_path / "w.safetensors", description="w")

    with pytest.raises(ModelLoadError, match=r"0\.weight of the shape \(1, 2\) in the layers meets 0\.weight"):
        load_source(source, "Sequential(Linear(2, 1))")
    with pytest.raises(ModelLoadError, match="name it with --arch, as `timm/<architecture>`"):
        load_source(source, None)
    with pytest.raises(ModelLoadError, match="--arch is 'resnet18'; it is one of"):
        load_source(source, "resnet18")
    with pytest.raises(ModelLoadError, match=r"no tensor fc\.weight, where this architecture has its classes"):
        load_source(source, "timm/resnet18")
    with pytest.raises(ModelLoadError, match=r"Did you mean 'torchvision/resnet18'"):
        load_source(source, "torchvision/resnet-18")


@pytest.mark.parametrize("arch", ["timm/test_resnet", "timm/test_resnet.r160_in1k"])
def test_an_architecture_gets_the_classes_and_channels_of_the_weights(tmp_path: Path, arch: str) -> None:
    module = timm.create_model("test_resnet", num_classes=7, in_chans=1).eval()
    save_file(module.state_dict(), tmp_path / "w.safetensors")

    loaded = load_source(find_source(tmp_path / "w.safetensors"), arch)

    assert (loaded.channels, loaded.classes) == (1, 7)
    # Weights that timm names have a recipe; an architecture has none.
    assert (loaded.found.recipe.mean is not None) == ("." in arch)
    pixels = torch.rand(1, 1, 96, 96)
    assert torch.equal(loaded.module(pixels), module(pixels))


def test_a_timm_folder_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    module = timm.create_model("test_resnet", num_classes=2).eval()
    timm.models.save_for_hf(
        module, str(tmp_path), model_config={"label_names": ["ant", "bee"]}, safe_serialization=True
    )

    source = find_source(tmp_path)
    loaded = load_source(source, None)

    assert isinstance(source, TimmFolder)
    assert source.found.facts.labels is not None
    assert source.found.facts.labels.value == ("ant", "bee")
    pixels = torch.rand(1, 3, 96, 96)
    assert torch.equal(loaded.module(pixels), module(pixels))


def test_wrappers_leave_no_prefix_and_checkpoints_are_opened(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"model": {"module.a.weight": torch.ones(2), "module.b": torch.zeros(1)}}, path)

    assert sorted(convert(path)) == ["a.weight", "b"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"epoch": 3}, "the keys 'epoch', and no state dict"),
        ([1], "no dictionary"),
        (Path("x"), "without running code"),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path: Path, content: object, reason: str) -> None:
    torch.save(content, tmp_path / "w.pth")

    with pytest.raises(ModelLoadError, match=reason):
        convert(tmp_path / "w.pth")
