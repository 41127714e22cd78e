"""The wrapped graph gives the answers of the graph as it came, on the input that the recipe makes."""

import itertools
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bento_service.domain.models import InputRecipe
from bento_service.errors import ModelLoadError
from bento_service.preparation.batches import free_batch
from bento_service.preparation.graph_run import GraphRun, to_graph_input
from bento_service.preparation.inspection import GraphHints, inspect
from bento_service.preparation.presets import BYTES
from bento_service.preparation.wrapping import wrap
from tests.fakes.onnx_graphs import CLASSES, make_classifier

RECIPE = InputRecipe(8, 8, 1.0, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
GREY = replace(RECIPE, mean=(0.1,), std=(0.3,), channels="grey")
RAW = replace(RECIPE, mean=BYTES.mean * 3, std=BYTES.std * 3)
HINTS = GraphHints()


def _make_pixels(recipe: InputRecipe, count: int = 4) -> np.ndarray:
    shape = (count, recipe.height_px, recipe.width_px, recipe.channel_count)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize(
    ("options", "recipe"),
    [
        ({}, RECIPE),
        ({"layout": "NHWC"}, RECIPE),
        ({}, replace(RECIPE, channels="bgr")),
        ({"layout": "NHWC"}, replace(RECIPE, channels="bgr")),
        ({"channels": 1}, GREY),
        ({"channels": 1, "layout": "NHWC"}, GREY),
        ({"rank": 4, "opset": 7, "weights_as_inputs": True}, RECIPE),
        ({"element": TensorProto.FLOAT16}, RECIPE),
        ({"element": TensorProto.UINT8}, RAW),
        ({"element": TensorProto.UINT8, "layout": "NHWC"}, RAW),
        ({"shape": ("n", 3, "h", "w")}, RECIPE),
        ({"shape": ("n", "c", "h", "w"), "starts_with_convolution": True}, RECIPE),
        ({}, replace(RECIPE, mean=(0.0,) * 3, std=(1.0,) * 3)),
    ],
)
def test_a_wrapped_graph_answers_as_the_original_on_prepared_input(
    options: dict[str, object], recipe: InputRecipe
) -> None:
    for last, added in itertools.product(("Softmax", None), ("none", "softmax", "sigmoid")):
        if (last is None) == (added == "none"):
            continue
        model = make_classifier(**options, last=last)  # type: ignore[arg-type]
        pixels = _make_pixels(recipe)
        original = GraphRun(model, inspect(model, HINTS))
        expected = original.score(to_graph_input(pixels, recipe, original.facts), added)  # type: ignore[arg-type]

        wrapped = wrap(model, original.facts, recipe, added, CLASSES)  # type: ignore[arg-type]
        onnx.checker.check_model(wrapped, full_check=True)
        facts = inspect(wrapped, HINTS)

        assert facts.is_wrapped
        assert (facts.height_px, facts.width_px, facts.channels) == (8, 8, recipe.channel_count)
        tolerance = 2e-3 if original.facts.input_type == "f16" else 1e-6
        np.testing.assert_allclose(GraphRun(wrapped, facts).score(pixels), expected, atol=tolerance)


def test_names_of_the_inner_graph_may_be_ours() -> None:
    model = make_classifier()
    for node in model.graph.node:
        node.input[:] = ["images" if name == "picture" else name for name in node.input]
        node.output[:] = ["image.float" if name == "quarters" else name for name in node.output]
        node.input[:] = ["image.float" if name == "quarters" else name for name in node.input]
    model.graph.input[0].name = "images"

    wrapped = wrap(model, inspect(model, HINTS), RECIPE, "none", CLASSES)

    onnx.checker.check_model(wrapped, full_check=True)


@pytest.mark.parametrize(
    ("options", "recipe", "message"),
    [
        ({"channels": 1}, RECIPE, "state `--channels grey`"),
        ({}, GREY, "`--channels rgb` or `bgr`"),
        ({}, replace(RECIPE, width_px=9), "takes images of 8 x 8 pixels"),
        ({}, replace(RECIPE, std=(1.0, 0.0, 1.0)), "none that is 0"),
        ({"element": TensorProto.UINT8}, RECIPE, "normalises inside"),
    ],
)
def test_a_recipe_that_does_not_fit_the_graph_is_refused(
    options: dict[str, object], recipe: InputRecipe, message: str
) -> None:
    model = make_classifier(**options)  # type: ignore[arg-type]

    with pytest.raises(ModelLoadError, match=message):
        wrap(model, inspect(model, HINTS), recipe, "none", CLASSES)


def test_a_fixed_batch_is_freed_where_only_a_reshape_has_it() -> None:
    model = make_classifier(shape=(1, 3, 8, 8), batch_in_reshape=1)
    wrapped = wrap(model, inspect(model, HINTS), RECIPE, "none", CLASSES)
    fixed = GraphRun(wrapped, inspect(wrapped, HINTS))
    pixels = _make_pixels(RECIPE)

    freed = free_batch(wrapped, 1)
    facts = inspect(freed, HINTS)

    assert facts.batch is None
    assert "model/sizes" not in {tensor.name for tensor in freed.graph.initializer}
    np.testing.assert_allclose(GraphRun(freed, facts).score(pixels), fixed.score(pixels), atol=1e-6)


def test_further_outputs_are_left_out() -> None:
    model = make_classifier()
    model.graph.output.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 12]))
    facts = inspect(model, GraphHints(output="scores"))

    wrapped = wrap(model, facts, RECIPE, "none", CLASSES)

    assert [value.name for value in wrapped.graph.output] == ["probabilities"]
