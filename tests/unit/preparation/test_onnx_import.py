import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from PIL import Image

from bento_service.domain.graph import FEATURES_NAME, OUTPUT_NAME
from bento_service.domain.models import InputRecipe, Parity, StoredModel
from bento_service.errors import ModelLoadError
from bento_service.preparation import onnx_tasks
from bento_service.preparation.inspection import GraphHints
from bento_service.preparation.onnx_import import OnnxImport, check_parity, check_recipes, inspect_onnx, prepare_onnx
from bento_service.preparation.presets import NORMALISATIONS
from bento_service.preparation.verification import verify
from tests.fakes.onnx_graphs import make_classifier, save

LABELS = ("red", "green", "blue")
IMAGENET = NORMALISATIONS["imagenet"]
RECIPE = InputRecipe(8, 8, 1.0, "bilinear", IMAGENET.mean, IMAGENET.std)


def _ask(path: Path, **changes: Any) -> dict[str, Any]:
    """Return a request as it reaches a task, through JSON."""
    request = {
        "name": "m",
        "path": str(path),
        "hints": asdict(GraphHints()),
        "recipe": asdict(RECIPE),
        "labels": LABELS,
        "score_kind": "softmax",
        "wrapped_path": str(path.with_suffix(".wrapped")),
        "crops": 16,
    }
    asked: dict[str, Any] = json.loads(json.dumps(request | changes))
    return asked


def _wrap(path: Path, **changes: Any) -> Mapping[str, Any]:
    answer = onnx_tasks.wrap_file(_ask(path, **changes))
    assert isinstance(answer, dict)
    return answer


def test_a_file_becomes_a_card_and_a_graph_that_imports_to_the_same_version(tmp_path: Path) -> None:
    path = save(make_classifier(is_pooled=True), tmp_path / "pets.onnx")
    steps: list[str] = []
    request = OnnxImport(
        path=path,
        name="pets",
        labels=LABELS,
        recipe=RECIPE,
        source="pets.onnx",
        licence="unknown",
        found_in={"labels": "--labels"},
    )

    facts = inspect_onnx(path)
    prepared = prepare_onnx(request, tmp_path, steps.append)

    assert facts.classes == 3
    again = _wrap(prepared.onnx_path)
    assert (again["version"], again["has_features"]) == (prepared.card.version, True)
    assert prepared.has_features
    assert [value.name for value in onnx.load(prepared.onnx_path).graph.output] == [OUTPUT_NAME, FEATURES_NAME]
    assert prepared.card.found_in["labels"] == "--labels"
    assert "ONNX Runtime" in prepared.card.found_in["parity"]
    assert prepared.card.max_batch is None
    assert prepared.card.memory_bytes is not None
    assert set(prepared.parities) == {"openvino", "onnxruntime"}
    assert all(parity.passes_gate and parity.crops == 200 for parity in prepared.parities.values())
    stored = StoredModel(prepared.card, prepared.onnx_path, None, prepared.parities)
    assert verify(stored).reference == "ONNX Runtime in f32"
    assert steps[:2] == ["wrapping the graph", "measuring parity and memory"]
    assert steps[-1] == "measuring parity and memory: 100%"


def test_a_file_that_an_earlier_lightbox_exported_keeps_its_version_and_gets_features(tmp_path: Path) -> None:
    path = save(make_classifier(is_pooled=True), tmp_path / "pets.onnx")
    first = _wrap(path)
    exported = onnx.load(path.with_suffix(".wrapped"))
    del exported.graph.output[1:]

    again = _wrap(save(exported, tmp_path / "exported.onnx"))

    assert again["version"] == first["version"]
    assert again["has_features"]


def test_parity_with_the_original_shows_what_a_smaller_file_lost(tmp_path: Path) -> None:
    original = make_classifier()
    smaller = make_classifier()
    weights = next(tensor for tensor in smaller.graph.initializer if tensor.name == "weights")
    coarse = np.round(numpy_helper.to_array(weights))
    weights.CopyFrom(numpy_helper.from_array(coarse.astype(np.float32), "weights"))
    path, reference = save(smaller, tmp_path / "int8.onnx"), save(original, tmp_path / "f32.onnx")
    _wrap(path)

    with (tmp_path / "progress").open("wb") as progress:
        asked = {"wrapped_path": str(path.with_suffix(".wrapped")), "progress_fd": progress.fileno()}
        alone: Any = onnx_tasks.measure_file(_ask(path, **asked))
        against: Any = onnx_tasks.measure_file(_ask(reference, **asked))

    assert alone["parities"]["openvino"]["max_probability_difference"] < 0.02
    assert against["parities"]["openvino"]["max_probability_difference"] > 0.05


def test_a_file_that_fails_the_gate_is_refused_with_the_figures() -> None:
    request = OnnxImport(
        path=Path("int8.onnx"),
        name="m",
        labels=LABELS,
        recipe=RECIPE,
        source="s",
        licence="l",
        reference=Path("f32.onnx"),
    )
    parities = {"openvino": Parity(200, 0.57, 0.36), "onnxruntime": Parity(200, 1.0, 0.01)}

    with pytest.raises(ModelLoadError) as refused:
        check_parity(request, parities, "ONNX Runtime in f32", is_quantised=True)

    assert refused.value.message == (
        "'int8.onnx' fails the parity gate: over 200 crops of photographs, compared with ONNX Runtime in f32 (its "
        "original 'f32.onnx'), on `openvino` a probability moves by up to 0.3600, and the best class agrees on 57.0%. "
        "At most 0.02 and at least 99.5% are allowed. Import the f32 original, or store it nevertheless with "
        "`--allow-inexact`, and serve it with LIGHTBOX_ENGINE=onnxruntime."
    )


def test_softmax_that_is_made_of_other_operators_is_not_added_again(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Exp", ["scores"], ["powers"]),
        helper.make_node("ReduceSum", ["powers", "axis"], ["total"], keepdims=1),
        helper.make_node("Div", ["powers", "total"], ["shares"]),
    ]
    model = make_classifier(last=None, further=nodes)
    model.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "axis"))
    model.graph.output[0].name = "shares"
    path = save(model, tmp_path / "m.onnx")

    facts: Any = onnx_tasks.inspect_file(_ask(path))
    _wrap(path)

    assert facts["activation"] == "softmax"
    assert "Softmax" not in {node.op_type for node in onnx.load(path.with_suffix(".wrapped")).graph.node}


@pytest.mark.parametrize(
    ("options", "changes", "message"),
    [
        ({}, {"labels": ["a", "b"]}, "returns 3 scores for an image, and there are 2 labels"),
        ({}, {"score_kind": "independent"}, "ends in softmax, so sigmoid would be the second one"),
        ({"last": "Sigmoid"}, {}, "ends in sigmoid, so softmax would be the second one"),
    ],
)
def test_what_contradicts_the_graph_is_refused(
    tmp_path: Path, options: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    path = save(make_classifier(**options), tmp_path / "m.onnx")

    with pytest.raises(ModelLoadError, match=message):
        _wrap(path, **changes)


def test_a_batch_that_would_mix_images_stays_one(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMax", ["scores", "rows"], ["most"], keepdims=1),
        helper.make_node("Div", ["scores", "most"], ["shares"]),
    ]
    model = make_classifier(shape=(1, 3, 8, 8), further=nodes, opset=18)
    model.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "rows"))
    model.graph.output[0].name = "shares"
    path = save(model, tmp_path / "m.onnx")

    assert _wrap(path)["max_batch"] == 1
    batch = onnx.load(path.with_suffix(".wrapped")).graph.input[0].type.tensor_type.shape.dim[0]
    assert batch.dim_value == 1


def test_a_large_batch_that_cannot_be_changed_is_refused(tmp_path: Path) -> None:
    model = make_classifier(shape=(8, 3, 8, 8), further=[helper.make_node("Add", ["scores", "rows"], ["sums"])])
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((8, 3), np.float32), "rows"))
    model.graph.output[0].name = "sums"

    with pytest.raises(ModelLoadError, match="takes batches of 8 and nothing else"):
        _wrap(save(model, tmp_path / "m.onnx"))


def test_a_file_newer_than_the_engines_is_brought_down_to_them(tmp_path: Path) -> None:
    model = make_classifier(opset=28)
    model.ir_version = 14
    path = save(model, tmp_path / "m.onnx")

    _wrap(path)

    wrapped = onnx.load(path.with_suffix(".wrapped"))
    assert (wrapped.opset_import[0].version, wrapped.ir_version) == (26, 10)


def test_a_net_with_old_opset_weights_as_inputs_and_four_dimensions_is_wrapped(tmp_path: Path) -> None:
    net = Path(str(resources.files("onnx"))) / "backend/test/data/light/light_squeezenet.onnx"
    half = (0.5, 0.5, 0.5)
    recipe = asdict(InputRecipe(224, 224, 0.875, "bicubic", half, half))
    wrapped_path = tmp_path / "wrapped.onnx"

    answer = _wrap(net, labels=list(map(str, range(1000))), recipe=recipe, wrapped_path=str(wrapped_path))

    wrapped = onnx.load(wrapped_path)
    assert answer["max_batch"] is None
    assert [value.name for value in wrapped.graph.output] == [OUTPUT_NAME, FEATURES_NAME]
    assert [len(value.type.tensor_type.shape.dim) for value in wrapped.graph.output] == [2, 4]


def _draw(folder: Path) -> None:
    """Write photographs of one colour each, whose class the quarters' mean colour tells."""
    random = np.random.default_rng(3)
    for index, label in enumerate(LABELS):
        (folder / label).mkdir(parents=True)
        for number in range(4):
            pixels = random.integers(0, 60, (20, 30, 3))
            pixels[..., index] += 180
            Image.fromarray(pixels.astype(np.uint8)).save(folder / label / f"{number}.png")


def test_the_right_recipe_is_the_best_candidate_on_labelled_photographs(tmp_path: Path) -> None:
    model = make_classifier(last=None)
    weights = next(tensor for tensor in model.graph.initializer if tensor.name == "weights")
    # The class is the strongest channel of BGR pixels, of which the third is red.
    of_channel = np.repeat(np.eye(3, dtype=np.float32)[::-1], 4, axis=0)
    weights.CopyFrom(numpy_helper.from_array(of_channel, "weights"))
    path = save(model, tmp_path / "m.onnx")
    _draw(tmp_path / "photographs")

    check = check_recipes(path, tmp_path / "photographs", LABELS, RECIPE)
    given = next(figure for figure in check.figures if figure.name == "as given")

    assert (check.used, check.found) == (12, 12)
    assert check.figures[0].recipe.channels == "bgr"
    assert check.figures[0].accuracy == 1
    assert given.accuracy < 0.5
    assert given.recipe == RECIPE
    assert check.figures[0].log_loss < given.log_loss


def test_a_subfolder_that_is_no_label_is_refused(tmp_path: Path) -> None:
    path = save(make_classifier(), tmp_path / "m.onnx")
    (tmp_path / "photographs" / "purple").mkdir(parents=True)

    with pytest.raises(ModelLoadError, match=r"of the model: 'purple'\. Its labels are 'red', .* Give the folders"):
        check_recipes(path, tmp_path / "photographs", LABELS, replace(RECIPE))
