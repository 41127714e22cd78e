"""Let a graph with a fixed batch take any, where its answers stay the same."""

from typing import TYPE_CHECKING

import numpy as np

from bento_service.preparation.inspection import shape_of
from bento_service.preparation.onnx_file import walk_nodes

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto


def free_batch(model: "ModelProto", batch: int | None) -> "ModelProto":
    """Return a copy of a wrapped model that declares a free batch.

    Where the graph has the fixed size `batch` as the first of a Reshape's constant sizes, the copy has 0 there, which
    keeps the input's. Other operators may still depend on it: compare answers before this copy is used.
    """
    from onnx import ModelProto

    freed = ModelProto()
    freed.CopyFrom(model)
    if batch is not None:
        _free_reshapes(freed, batch)
    for value in (*freed.graph.input, *freed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    return freed


def fix_batch(model: "ModelProto", batch: int) -> None:
    """Declare a fixed batch."""
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch


def _free_reshapes(model: "ModelProto", batch: int) -> None:
    from onnx import numpy_helper, shape_inference

    graph = model.graph
    inferred = shape_inference.infer_shapes(model).graph
    shapes = {value.name: shape_of(value) for value in (*inferred.value_info, *inferred.input)}
    constants = _read_constants(graph)
    followed = _follow(graph)
    replaced = set[str]()
    for node in graph.node:
        if node.op_type != "Reshape" or node.input[0] not in followed:
            continue
        sizes, shape = constants.get(node.input[1]), shapes.get(node.input[0])
        if sizes is None or sizes.size == 0 or sizes[0] != batch or (shape and shape[0] != batch):
            continue
        # PyTorch's exporter has `allowzero`, with which 0 would be a size.
        if any(attribute.name == "allowzero" and attribute.i for attribute in node.attribute):
            if 0 in sizes:
                continue
            del node.attribute[:]
        name = f"{node.output[0]}.sizes"
        graph.initializer.append(numpy_helper.from_array(np.array([0, *sizes[1:]], np.int64), name))
        replaced.add(node.input[1])
        node.input[1] = name
    # ONNX Runtime warns of each constant that nothing reads.
    replaced -= {name for node in walk_nodes(graph) for name in node.input}
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name in replaced:
            del graph.initializer[index]


def _read_constants(graph: "GraphProto") -> dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.int64]]"]:
    """Return the short integer constants, which shapes are."""
    from onnx import TensorProto, numpy_helper

    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            tensors.update((node.output[0], attribute.t) for attribute in node.attribute)
    return {
        name: numpy_helper.to_array(tensor)
        for name, tensor in tensors.items()
        if tensor.data_type == TensorProto.INT64 and len(tensor.dims) == 1 and tensor.dims[0] <= 8
    }


def _follow(graph: "GraphProto") -> set[str]:
    """Return the tensors that the image decides; operators stand in the order of their data."""
    followed = {value.name for value in graph.input}
    for node in graph.node:
        if followed.intersection(node.input):
            followed.update(node.output)
    return followed
