"""Preparing and loading, with a real store in a folder and a model small enough to export in a second."""

import multiprocessing
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino
import pytest
import torch
from torch import nn

from bento_service.domain.models import InputRecipe, Parity
from bento_service.errors import ModelLoadError
from bento_service.models.gate import read_card
from bento_service.models.store import BentoModelStore
from bento_service.preparation.prepare import LoadModel, MeasureParity, compute_version, load_model, prepare_missing
from bento_service.preparation.sources.base import LoadedModel

RECIPE = InputRecipe(8, 6, 0.875, "bicubic", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))


def load_tiny(name: str, *, seed: int = 0) -> LoadedModel:
    """Load a model of three classes from the mean colour."""
    torch.manual_seed(seed)
    module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    return LoadedModel(name, module.eval(), ("red", "grün", "blue"), RECIPE, "a test", "Apache-2.0")


class Unexportable(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no graph of this")


def measure_failing(model: LoadedModel, onnx_path: Path) -> Mapping[str, Parity]:
    assert onnx_path.is_file()
    return {"openvino": Parity(200, 0.94, 0.08)}


def prepare_tiny(
    store: BentoModelStore, load: LoadModel = load_tiny, measure: MeasureParity = measure_failing
) -> list[str]:
    """Prepare the model `tiny`; return the steps."""
    steps: list[str] = []
    prepare_missing(
        ["tiny"], store, lambda model, step: steps.append(f"{model}: {step}"), load=load, measure_parity=measure
    )
    return steps


def prepare_in(root: Path) -> int:
    return len(prepare_tiny(BentoModelStore(root)))


@pytest.fixture
def store(tmp_path: Path) -> BentoModelStore:
    return BentoModelStore(tmp_path / "models")


def test_a_prepared_model_is_read_back_as_it_was(store: BentoModelStore) -> None:
    prepare_tiny(store)

    stored = store.load("tiny")

    loaded = load_tiny("tiny")
    assert stored.card == loaded.to_card(compute_version(loaded.module, RECIPE))
    assert stored.onnx_path.is_file()
    assert stored.require_program().is_file()


def test_the_exported_graphs_equal_the_module(store: BentoModelStore) -> None:
    prepare_tiny(store)
    stored = store.load("tiny")
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 6, 3), dtype=np.uint8)
    scaled = (images / 255.0 - np.array(RECIPE.mean)) / np.array(RECIPE.std)
    module = load_tiny("tiny").module
    with torch.no_grad():
        expected = module(torch.tensor(scaled, dtype=torch.float32).permute(0, 3, 1, 2)).softmax(dim=1).numpy()

    graph = openvino.Core().compile_model(str(stored.onnx_path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    program = torch.export.load(stored.require_program()).module()

    assert [port.any_name for port in (*graph.inputs, *graph.outputs)] == ["images", "probabilities"]
    np.testing.assert_allclose(graph(images)[0], expected, atol=1e-5)
    np.testing.assert_allclose(program(torch.from_numpy(images)).detach().numpy(), expected, atol=1e-6)


def test_only_a_missing_model_is_prepared_and_each_step_announced(store: BentoModelStore) -> None:
    steps = ["loading weights", "exporting to ONNX", "measuring parity", "ready, but fails the parity gate on openvino"]

    assert store.missing(["tiny"]) == ("tiny",)
    assert prepare_tiny(store) == [f"tiny: {step}" for step in steps]
    assert store.missing(["tiny"]) == ()
    assert prepare_tiny(store) == []


def test_loading_a_missing_model_says_how_to_prepare_it(store: BentoModelStore) -> None:
    with pytest.raises(ModelLoadError, match="lightbox models prepare tiny2"):
        store.load("tiny2")


def test_a_model_that_fails_the_gate_is_served_only_where_allowed(store: BentoModelStore) -> None:
    prepare_tiny(store)
    stored = store.load("tiny")

    with pytest.raises(ModelLoadError, match="'tiny' on the engine `openvino` fails the parity gate"):
        read_card(stored, "openvino")

    allowed = read_card(stored, "openvino", allow_inexact=True)
    assert (allowed.parity, allowed.warnings) == (Parity(200, 0.94, 0.08), ("inexact_model",))
    on_torch = read_card(stored, "torch")
    assert (on_torch.parity, on_torch.warnings) == (None, ())


def test_a_model_that_cannot_be_exported_is_not_stored(store: BentoModelStore) -> None:
    with pytest.raises(ModelLoadError, match=r"'tiny' cannot be exported: .*no graph of this"):
        prepare_tiny(store, lambda name: replace(load_tiny(name), module=Unexportable()))

    assert store.missing(["tiny"]) == ("tiny",)


def test_a_partly_stored_model_is_prepared_again(store: BentoModelStore) -> None:
    prepare_tiny(store)
    onnx_path = store.load("tiny").onnx_path
    onnx_path.write_bytes(onnx_path.read_bytes()[:100])

    assert store.missing(["tiny"]) == ("tiny",)
    prepare_tiny(store)

    assert store.load("tiny").onnx_path.stat().st_size > 100


def test_of_two_processes_that_prepare_at_once_one_does_the_work(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        steps = pool.map(prepare_in, [tmp_path, tmp_path])

    assert sorted(steps) == [0, 4]


@pytest.mark.parametrize("name", ["efficientnet_lite7", "timm/resnet18.a1_in1", "torchvision/resnet51"])
def test_a_name_leads_to_the_source_that_it_begins_with(name: str) -> None:
    with pytest.raises(ModelLoadError, match=f"Did you mean '{name.partition('/')[0][:9]}"):
        load_model(name)


def test_a_name_of_no_source_is_refused() -> None:
    with pytest.raises(ModelLoadError, match="No source has a model 'keras/huge'"):
        load_model("keras/huge")


def test_the_version_follows_from_weights_and_recipe() -> None:
    module = load_tiny("tiny", seed=1).module
    version = compute_version(module, RECIPE)

    assert version == compute_version(load_tiny("tiny", seed=1).module, RECIPE)
    assert version != compute_version(load_tiny("tiny", seed=2).module, RECIPE)
    assert version != compute_version(module, replace(RECIPE, crop_fraction=0.9))


def test_a_bundled_model_has_the_same_version_on_every_machine(bentoml_home: Path) -> None:
    assert BentoModelStore().load("efficientnet_lite0").card.version == "e9951ab713dc"


def test_a_serving_process_reads_models_without_torch(bentoml_home: Path) -> None:
    script = """
import sys
from bento_service.models.gate import read_card
from bento_service.models.store import BentoModelStore
imported = {"torch", "timm", "torchvision", "bentoml"} & set(sys.modules)
assert not imported, imported
BentoModelStore().load("efficientnet_lite0")
imported = {"torch", "timm", "torchvision"} & set(sys.modules)
assert not imported, imported
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
