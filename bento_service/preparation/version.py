"""A model's version: a digest of everything that its answers follow from."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING

from bento_service.domain.graph import FEATURES_NAME
from bento_service.domain.models import InputRecipe

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, ValueInfoProto

_HEX_DIGITS = 12


def compute_version(model: "ModelProto", labels: Sequence[str], recipe: InputRecipe) -> str:
    """Return twelve hex digits of a SHA-256 of a graph's operators and weights, the labels and the recipe.

    The activation is the graph's last operator. Names, order and documentation of nodes and tensors don't count, nor do
    recipe fields that have their default: a field that a later release adds keeps the versions of older models. Nor
    does the output `features`, without which the scores are the same.
    """
    from onnx import inliner

    if model.functions:
        model = inliner.inline_local_functions(model)
    opsets = {_name_domain(opset.domain): opset.version for opset in model.opset_import}
    described = [_digest_graph(model.graph, opsets, {}), list(labels), _describe_recipe(recipe)]
    return _digest(described)[:_HEX_DIGITS]


def _name_domain(domain: str) -> str:
    """Return a domain's shorter name: ONNX's own has two."""
    return "" if domain == "ai.onnx" else domain


def _describe_recipe(recipe: InputRecipe) -> Mapping[str, object]:
    values = {field.name: (getattr(recipe, field.name), field.default) for field in fields(recipe)}
    return {name: value for name, (value, default) in values.items() if default is MISSING or value != default}


def _digest_graph(graph: "GraphProto", opsets: Mapping[str, int], outer: Mapping[str, str], *, depth: int = 0) -> str:
    """Digest a graph as its outputs, each by the operator that makes it, and that by its own inputs' digests.

    `outer` has the tensors of the graph that a branch or a loop's body belongs to, and `depth` counts such graphs: the
    body's first input is not the graph's.
    """
    tensors = {**outer, "": _digest("none")}
    for index, value in enumerate(graph.input):
        tensors[value.name] = _digest(["input" + depth * "'", index, *_describe_type(value)])
    for tensor in graph.initializer:
        tensors[tensor.name] = _digest_tensor(tensor)
    for node in graph.node:
        domain = _name_domain(node.domain)
        operator = [domain, opsets.get(domain), node.op_type]
        attributes = {
            attribute.name: _describe_attribute(attribute, opsets, tensors, depth) for attribute in node.attribute
        }
        inputs = [tensors[name] for name in node.input]
        # The number of outputs decides what `Split` does.
        outputs = [len(node.output)] if len(node.output) > 1 else []
        digest = _digest([*operator, attributes, inputs, *outputs])
        tensors.update({name: _digest([digest, index]) for index, name in enumerate(node.output) if name})
    counted = [output for output in graph.output if depth or output.name != FEATURES_NAME]
    return _digest([[tensors[output.name], *_describe_type(output)] for output in counted])


def _describe_type(value: "ValueInfoProto") -> tuple[int, list[int | None]]:
    """Return element type and shape; None for a size that is free, whatever its name."""
    tensor = value.type.tensor_type
    sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
    return tensor.elem_type, sizes


def _describe_attribute(
    attribute: "AttributeProto", opsets: Mapping[str, int], tensors: Mapping[str, str], depth: int
) -> object:
    from onnx import GraphProto, TensorProto, helper

    def describe(value: object) -> object:
        match value:
            case GraphProto():
                return _digest_graph(value, opsets, tensors, depth=depth + 1)
            case TensorProto():
                return _digest_tensor(value)
            case bytes():
                return value.hex()
            case int() | float() | str():
                return value
        raise ValueError(f"the attribute {attribute.name!r} has a value of the type {type(value).__name__}")

    value = helper.get_attribute_value(attribute)
    is_one = isinstance(value, (bytes, str, int, float, GraphProto, TensorProto))
    return [int(attribute.type), describe(value) if is_one else [describe(part) for part in value]]


def _digest_tensor(tensor: "TensorProto") -> str:
    from onnx import numpy_helper

    values = numpy_helper.to_array(tensor)
    # An array of strings is one of Python's objects: its bytes are addresses.
    content = repr(values.tolist()).encode() if values.dtype.hasobject else values.tobytes()
    return _digest(["tensor", tensor.data_type, list(values.shape), hashlib.sha256(content).hexdigest()])


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
