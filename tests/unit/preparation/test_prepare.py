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
from bento_service.models.catalogue import Catalogue
from bento_service.models.store import BentoModelStore
from bento_service.preparation.prepare import Preparer, compute_version, default_sources
from bento_service.preparation.sources.base import LoadedModel

RECIPE = InputRecipe(8, 6, 0.875, "bicubic", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))


class TinySource:
    """Three classes out of the mean colour; counts how often it was asked."""

    def __init__(self, *, seed: int = 0, module: nn.Module | None = None) -> None:
        self.loads = 0
        self._seed = seed
        self._module = module

    def offers(self, name: str) -> bool:
        return name.startswith("tiny")

    def load(self, name: str) -> LoadedModel:
        self.loads += 1
        torch.manual_seed(self._seed)
        module = self._module or nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
        return LoadedModel(name, module.eval(), ("red", "grün", "blue"), RECIPE, "a test", "Apache-2.0")


class Unexportable(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no graph of this")


def ignore(model: str, step: str) -> None:
    pass


def prepare_in(root: Path) -> int:
    source = TinySource()
    Preparer(BentoModelStore(root), [source]).prepare(["tiny"], ignore)
    return source.loads


@pytest.fixture
def store(tmp_path: Path) -> BentoModelStore:
    return BentoModelStore(tmp_path / "models")


def test_a_prepared_model_is_read_back_as_it_was(store: BentoModelStore) -> None:
    Preparer(store, [TinySource()]).prepare(["tiny"], ignore)

    stored = Catalogue(store).load("tiny")

    assert stored.card.name == "tiny"
    assert stored.card.labels == ("red", "grün", "blue")
    assert stored.card.recipe == RECIPE
    assert (stored.card.source, stored.card.licence) == ("a test", "Apache-2.0")
    assert stored.onnx_path.is_file()
    assert stored.program_path.is_file()


def test_the_exported_graphs_normalise_and_answer_as_the_module_does(store: BentoModelStore) -> None:
    Preparer(store, [TinySource()]).prepare(["tiny"], ignore)
    stored = store.find("tiny")
    assert stored is not None
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 6, 3), dtype=np.uint8)
    scaled = (images / 255.0 - np.array(RECIPE.mean)) / np.array(RECIPE.std)
    module = TinySource().load("tiny").module
    with torch.no_grad():
        expected = module(torch.tensor(scaled, dtype=torch.float32).permute(0, 3, 1, 2)).softmax(dim=1).numpy()

    graph = openvino.Core().compile_model(str(stored.onnx_path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    program = torch.export.load(stored.program_path).module()

    assert [port.any_name for port in (*graph.inputs, *graph.outputs)] == ["images", "probabilities"]
    np.testing.assert_allclose(graph(images)[0], expected, atol=1e-5)
    np.testing.assert_allclose(program(torch.from_numpy(images)).detach().numpy(), expected, atol=1e-6)


def test_preparing_again_loads_nothing(store: BentoModelStore) -> None:
    source = TinySource()
    preparer = Preparer(store, [source])

    preparer.prepare(["tiny"], ignore)
    preparer.prepare(["tiny"], ignore)

    assert source.loads == 1


def test_each_step_is_announced_with_the_models_name(store: BentoModelStore) -> None:
    steps: list[tuple[str, str]] = []

    Preparer(store, [TinySource()]).prepare(["tiny"], lambda model, step: steps.append((model, step)))

    assert {model for model, _ in steps} == {"tiny"}
    assert [step for _, step in steps] == ["loading weights", "exporting to ONNX", "measuring parity", "ready"]


def test_what_is_not_prepared_is_missing_and_loading_it_says_how_to_prepare_it(store: BentoModelStore) -> None:
    preparer = Preparer(store, [TinySource()])
    catalogue = Catalogue(store)
    preparer.prepare(["tiny"], ignore)

    assert catalogue.missing(["tiny", "tiny2"]) == ("tiny2",)
    with pytest.raises(ModelLoadError, match="lightbox models prepare tiny2"):
        catalogue.load("tiny2")


def test_measured_parity_is_on_the_card_of_the_engine_that_it_was_measured_with(store: BentoModelStore) -> None:
    parity = Parity(200, 1.0, 1e-6)

    def measure(model: LoadedModel, onnx_path: Path) -> Mapping[str, Parity]:
        assert onnx_path.is_file()
        return {"openvino": parity}

    Preparer(store, [TinySource()], measure_parity=measure).prepare(["tiny"], ignore)
    stored = Catalogue(store).load("tiny")

    assert stored.card_served_by("openvino").parity == parity
    assert stored.card_served_by("torch").parity is None


def test_a_prepared_model_that_failed_the_parity_gate_is_served_only_where_it_is_allowed(
    store: BentoModelStore,
) -> None:
    failing = Parity(200, 0.94, 0.08)
    steps: list[str] = []
    preparer = Preparer(store, [TinySource()], measure_parity=lambda model, path: {"openvino": failing})
    preparer.prepare(["tiny"], lambda model, step: steps.append(step))
    catalogue = Catalogue(store)

    assert steps[-1] == "ready, but fails the parity gate on openvino"

    with pytest.raises(ModelLoadError, match="'tiny' on the engine `openvino` fails the parity gate"):
        catalogue.load_to_serve("tiny", "openvino")

    allowed = catalogue.load_to_serve("tiny", "openvino", allow_inexact=True).card
    assert (allowed.parity, allowed.warnings) == (failing, ("inexact_model",))
    on_torch = catalogue.load_to_serve("tiny", "torch").card
    assert (on_torch.parity, on_torch.warnings) == (None, ())


def test_a_model_that_cannot_be_exported_is_reported_and_not_stored(store: BentoModelStore) -> None:
    preparer = Preparer(store, [TinySource(module=Unexportable())])
    catalogue = Catalogue(store)

    with pytest.raises(ModelLoadError, match=r"'tiny' cannot be exported: .*no graph of this"):
        preparer.prepare(["tiny"], ignore)

    assert catalogue.missing(["tiny"]) == ("tiny",)


def test_a_model_that_was_not_stored_to_its_end_is_prepared_anew(store: BentoModelStore) -> None:
    preparer = Preparer(store, [TinySource()])
    catalogue = Catalogue(store)
    preparer.prepare(["tiny"], ignore)
    onnx_path = catalogue.load("tiny").onnx_path
    onnx_path.write_bytes(onnx_path.read_bytes()[:100])

    assert catalogue.missing(["tiny"]) == ("tiny",)
    preparer.prepare(["tiny"], ignore)

    assert catalogue.load("tiny").onnx_path.stat().st_size > 100


def test_two_processes_that_prepare_at_once_do_the_work_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        loads = pool.map(prepare_in, [tmp_path, tmp_path])

    assert sorted(loads) == [0, 1]


def test_a_name_that_no_source_offers_is_refused(store: BentoModelStore) -> None:
    with pytest.raises(ModelLoadError, match="No source has a model 'huge'"):
        Preparer(store, [TinySource()]).prepare(["huge"], ignore)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "timm/resnet50", "torchvision/resnet50", "anything"])
def test_each_name_belongs_to_exactly_one_source(name: str) -> None:
    assert sum(source.offers(name) for source in default_sources()) == 1


def test_equal_weights_and_recipes_have_equal_versions_and_others_have_not() -> None:
    module = TinySource(seed=1).load("tiny").module
    version = compute_version(module, RECIPE)

    assert version == compute_version(TinySource(seed=1).load("tiny").module, RECIPE)
    assert version != compute_version(TinySource(seed=2).load("tiny").module, RECIPE)
    assert version != compute_version(module, replace(RECIPE, crop_fraction=0.9))


def test_a_bundled_model_has_the_same_version_on_every_machine(bentoml_home: Path) -> None:
    assert Catalogue().load("efficientnet_lite0").card.version == "e9951ab713dc"


def test_a_serving_process_reads_models_without_torch(bentoml_home: Path) -> None:
    script = """
import sys
from bento_service.models.catalogue import Catalogue
imported = {"torch", "timm", "torchvision", "bentoml"} & set(sys.modules)
assert not imported, imported
Catalogue().load("efficientnet_lite0")
imported = {"torch", "timm", "torchvision"} & set(sys.modules)
assert not imported, imported
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
