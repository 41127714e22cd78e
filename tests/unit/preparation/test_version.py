"""What a version follows from, on a graph of a few operators."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bento_service.domain.models import InputRecipe
from bento_service.preparation.version import compute_version

RECIPE = InputRecipe(8, 6, 0.875, "bicubic", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
LABELS = ("cat", "dog")


def make_model(
    nodes: Sequence[onnx.NodeProto] | None = None,
    *,
    prefix: str = "",
    weight: float = 1.0,
    output: str = "answer",
    opset: int = 20,
    batch: str = "n",
) -> onnx.ModelProto:
    """Return `softmax(clip(weight - images))`; `prefix` goes before the names of nodes and tensors between."""
    constants = [
        numpy_helper.from_array(np.array([weight, 2], np.float32), f"{prefix}w"),
        numpy_helper.from_array(np.array(0, np.float32), f"{prefix}low"),
    ]
    graph = helper.make_graph(
        nodes or make_nodes(prefix, output=output),
        f"{prefix}graph",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 2])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch, 2])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_operatorsetid("", opset)], producer_name=f"{prefix}me")


def make_nodes(prefix: str = "", *, output: str = "answer", activation: str = "Softmax") -> list[onnx.NodeProto]:
    return [
        helper.make_node("Sub", [f"{prefix}w", "images"], [f"{prefix}difference"], name=f"{prefix}1"),
        helper.make_node("Clip", [f"{prefix}difference", f"{prefix}low"], [f"{prefix}clipped"], doc_string=prefix),
        helper.make_node(activation, [f"{prefix}clipped"], [output]),
    ]


def version_of(model: onnx.ModelProto, labels: Sequence[str] = LABELS, recipe: InputRecipe = RECIPE) -> str:
    return compute_version(model, labels, recipe)


VERSION = version_of(make_model())


def swap_inputs(model: onnx.ModelProto) -> None:
    first, second = model.graph.node[0].input
    model.graph.node[0].input[:] = [second, first]


def take_the_limit_as_the_other_one(model: onnx.ModelProto) -> None:
    difference, low = model.graph.node[1].input
    model.graph.node[1].input[:] = [difference, "", low]


def add_an_attribute(model: onnx.ModelProto) -> None:
    model.graph.node[2].attribute.append(helper.make_attribute("axis", 0))


def free_the_width(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].ClearField("dim_value")


@pytest.mark.parametrize("change", [swap_inputs, take_the_limit_as_the_other_one, add_an_attribute, free_the_width])
def test_another_graph_has_another_version(change: Callable[[onnx.ModelProto], None]) -> None:
    model = make_model()
    change(model)

    assert version_of(model) != VERSION


@pytest.mark.parametrize(
    "model",
    [make_model(weight=1.5), make_model(make_nodes(activation="Sigmoid")), make_model(opset=13)],
    ids=["weight", "activation", "operators' release"],
)
def test_other_weights_activations_and_releases_of_operators_have_other_versions(model: onnx.ModelProto) -> None:
    assert version_of(model) != VERSION


@pytest.mark.parametrize(
    "recipe",
    [
        replace(RECIPE, crop_fraction=0.9),
        replace(RECIPE, interpolation="bilinear"),
        replace(RECIPE, is_antialiased=False),
        replace(RECIPE, mean=(0, 0, 0)),
    ],
)
def test_another_recipe_or_other_labels_have_another_version(recipe: InputRecipe) -> None:
    versions = {VERSION, version_of(make_model(), recipe=recipe), version_of(make_model(), labels=("dog", "cat"))}

    assert len(versions) == 3


def test_names_documentation_and_what_no_output_needs_do_not_count() -> None:
    unused = helper.make_node("Neg", ["images"], ["unused"])

    assert version_of(make_model(prefix="other.", output="scores", batch="s0")) == VERSION
    assert version_of(make_model([unused, *make_nodes()])) == VERSION


def test_the_output_of_features_does_not_count() -> None:
    model = make_model()
    model.graph.output.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 2]))
    model.graph.node.append(helper.make_node("Neg", ["difference"], ["features"]))

    assert version_of(model) == VERSION


def test_a_recipe_field_that_a_later_release_adds_keeps_older_versions() -> None:
    @dataclass(frozen=True, slots=True)
    class LaterRecipe(InputRecipe):
        padding: int = 0

    values = (8, 6, 0.875, "bicubic", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))

    assert version_of(make_model(), recipe=LaterRecipe(*values)) == VERSION  # type: ignore[arg-type] # literals widen
    assert version_of(make_model(), recipe=LaterRecipe(*values, padding=1)) != VERSION  # type: ignore[arg-type]


def test_the_body_of_a_branch_counts() -> None:
    def branching(operator: str) -> onnx.ModelProto:
        scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, None)
        branches = {
            branch: helper.make_graph([helper.make_node(name, ["w"], ["scores"])], branch, [], [scores])
            for branch, name in (("then_branch", operator), ("else_branch", "Identity"))
        }
        return make_model([helper.make_node("If", ["images"], ["answer"], **branches)])

    assert version_of(branching("Neg")) == version_of(branching("Neg")) != version_of(branching("Abs"))


def test_the_body_of_a_function_counts() -> None:
    def calling(operator: str) -> onnx.ModelProto:
        model = make_model([helper.make_node("Act", ["images"], ["answer"], domain="local")])
        body = [helper.make_node(operator, ["x"], ["y"])]
        opsets = [helper.make_operatorsetid("", 20)]
        model.functions.append(helper.make_function("local", "Act", ["x"], ["y"], body, opsets))
        model.opset_import.append(helper.make_operatorsetid("local", 1))
        return model

    assert version_of(calling("Neg")) != version_of(calling("Abs"))


def test_strings_count_by_their_characters() -> None:
    def with_strings(*values: str) -> onnx.ModelProto:
        constant = numpy_helper.from_array(np.array(values, dtype=object), "s")
        return make_model([helper.make_node("Constant", [], ["answer"], value=constant)])

    assert version_of(with_strings("a", "b")) == version_of(with_strings("a", "b")) != version_of(with_strings("ab"))


def test_an_input_of_a_body_is_not_the_graphs_own_of_that_place() -> None:
    def adding(name: str) -> onnx.ModelProto:
        row = helper.make_tensor_value_info("row", TensorProto.FLOAT, ["n", 2])
        total = helper.make_tensor_value_info("total", TensorProto.FLOAT, ["n", 2])
        body = helper.make_graph([helper.make_node("Add", ["row", name], ["total"])], "body", [row], [total])
        return make_model([helper.make_node("Scan", ["w"], ["answer"], body=body, num_scan_inputs=1)])

    assert version_of(adding("row")) != version_of(adding("images"))


def test_the_number_of_parts_of_a_split_counts() -> None:
    def splitting(*outputs: str) -> onnx.ModelProto:
        return make_model([helper.make_node("Split", ["images"], ["answer", *outputs], axis=1)], opset=13)

    assert version_of(splitting("b")) == version_of(splitting("c")) != version_of(splitting("b", "c"))


def test_the_two_names_of_onnxs_own_domain_are_one() -> None:
    def named(opset: int) -> onnx.ModelProto:
        model = make_model(opset=opset)
        model.opset_import[0].domain = "ai.onnx"
        return model

    assert version_of(named(20)) == VERSION != version_of(named(13))
