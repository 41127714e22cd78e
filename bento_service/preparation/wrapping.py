"""Wrap a classifier's graph so that it takes and returns what `domain.graph` says."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.graph import INPUT_NAME, OUTPUT_NAME
from bento_service.domain.models import InputRecipe
from bento_service.errors import ModelLoadError
from bento_service.preparation.inspection import Activation, GraphFacts, find_input

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

_PREFIX: Final = "model/"
"""Before each name of the inner graph, so that none is one of ours."""


def wrap(model: "ModelProto", facts: GraphFacts, recipe: InputRecipe, added: Activation, classes: int) -> "ModelProto":
    """Return the graph from uint8 images to probabilities around a model, which is changed (a copy would double it).

    `added` is the activation that the inner graph lacks. The batch is as in the inner graph: see `free_batch`.

    Raises:
        ModelLoadError: The recipe has other channels or another size than the graph.
    """
    from onnx import TensorProto, compose, helper

    check_recipe(facts, recipe)
    inner = compose.add_prefix(model, _PREFIX, inplace=True)
    graph = inner.graph
    image = find_input(graph)
    scores = _PREFIX + facts.output_name
    builder = _Builder()
    builder.prepare(facts, recipe, image.name)
    before, builder.nodes = builder.nodes, []
    builder.finish(facts, scores, added, classes)
    nodes = [*before, *graph.node, *builder.nodes]
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:], graph.quantization_annotation[:]
    graph.node.extend(nodes)
    graph.initializer.extend(builder.constants)
    batch = "batch" if facts.batch is None else facts.batch
    shape = [batch, recipe.height_px, recipe.width_px, recipe.channel_count]
    graph.input.append(helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, shape))
    graph.output.append(helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, [batch, classes]))
    # Before version 4, weights must be listed as inputs too.
    inner.ir_version = max(inner.ir_version, 4)
    return inner


def check_recipe(facts: GraphFacts, recipe: InputRecipe) -> None:
    """Check that a recipe makes the graph's input.

    Raises:
        ModelLoadError: It has other channels or another size, or normalises for a graph that does so itself.
    """
    size = facts.height_px or recipe.height_px, facts.width_px or recipe.width_px
    if (recipe.height_px, recipe.width_px) != size:
        raise ModelLoadError(
            f"The graph takes images of {size[1]} x {size[0]} pixels, and the recipe makes {recipe.width_px} x "
            f"{recipe.height_px}. Leave `--size` out."
        )
    if recipe.channel_count != facts.channels:
        wanted = "one channel: state `--channels grey`" if facts.channels == 1 else "three: `--channels rgb` or `bgr`"
        raise ModelLoadError(f"The recipe makes {recipe.channel_count} channels, and the graph takes {wanted}.")
    lengths = {len(recipe.mean), len(recipe.std)}
    if lengths != {recipe.channel_count} or 0 in recipe.std:
        raise ModelLoadError(
            f"Mean and standard deviation must have a value for each of {recipe.channel_count} channels, the second "
            f"none that is 0; given are {recipe.mean} and {recipe.std}."
        )
    if facts.input_type == "uint8" and not facts.is_wrapped and not _is_identity(recipe):
        raise ModelLoadError("The graph takes uint8 and normalises inside, so its recipe has no normalisation.")


def _is_identity(recipe: InputRecipe) -> bool:
    """Tell whether values stay 0-255, as `presets.BYTES` has it."""
    return all(value == 0 for value in recipe.mean) and all(value == 1 / 255 for value in recipe.std)


class _Builder:
    """Collects operators; `_append` returns the name of the new one's output."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def prepare(self, facts: GraphFacts, recipe: InputRecipe, target: str) -> None:
        """Append the way from images to the inner graph's input, called `target`.

        Scaling and normalisation are one after the other, as in `efficientnet_lite`, which says why.
        """
        from onnx import TensorProto

        tensor = INPUT_NAME
        if recipe.channels == "bgr":
            order = self._constant("image.bgr", np.array([2, 1, 0], np.int64))
            tensor = self._append("Gather", "image.reversed", tensor, order, axis=3)
        if facts.layout == "NCHW":
            tensor = self._append("Transpose", "image.channels_first", tensor, perm=[0, 3, 1, 2])
        if facts.input_type != "uint8":
            tensor = self._append("Cast", "image.float", tensor, to=TensorProto.FLOAT)
            tensor = self._append("Div", "image.scaled", tensor, self._constant("image.max", np.float32(255.0)))
            # Subtracting 0 and dividing by 1 change nothing.
            if any(recipe.mean):
                mean = self._constant("image.mean", _per_channel(recipe.mean, facts))
                tensor = self._append("Sub", "image.centred", tensor, mean)
            if any(value != 1 for value in recipe.std):
                std = self._constant("image.std", _per_channel(recipe.std, facts))
                tensor = self._append("Div", "image.normalised", tensor, std)
        if facts.input_type == "f16":
            tensor = self._append("Cast", "image.half", tensor, to=TensorProto.FLOAT16)
        if self.nodes:
            self.nodes[-1].output[0] = target
        else:
            self._append("Identity", target, tensor)

    def finish(self, facts: GraphFacts, scores: str, added: Activation, classes: int) -> None:
        """Append the way from the inner graph's scores to probabilities."""
        from onnx import TensorProto

        # An f16 graph computes the activation it lacks in f32. Elsewhere this does nothing, and engines drop it.
        tensor = self._append("Cast", "scores.float", scores, to=TensorProto.FLOAT)
        if facts.output_rank != 2:
            shape = self._constant("scores.shape", np.array([-1, classes], np.int64))
            tensor = self._append("Reshape", "scores.flat", tensor, shape)
        if added == "softmax":
            self._append("Softmax", "scores.softmax", tensor, axis=1)
        elif added == "sigmoid":
            self._append("Sigmoid", "scores.sigmoid", tensor)
        self.nodes[-1].output[0] = OUTPUT_NAME

    def _append(self, operator: str, output: str, *inputs: str, **attributes: Any) -> str:  # noqa: ANN401 - onnx's
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def _constant(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def _per_channel(values: Sequence[float], facts: GraphFacts) -> NDArray[np.float32]:
    """Return values in a shape that broadcasts along the graph's channels."""
    shape = (len(values), 1, 1) if facts.layout == "NCHW" else (len(values),)
    return np.array(values, np.float32).reshape(shape)
