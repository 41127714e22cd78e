"""Give a served graph its second output, the last feature map, where its head is pooling and linear layers."""

from typing import TYPE_CHECKING

from bento_service.domain.graph import FEATURES_NAME, OUTPUT_NAME
from bento_service.models.class_head import FoundHead, find_class_head, returns_map
from bento_service.preparation.onnx_file import walk_nodes

if TYPE_CHECKING:
    from onnx import ModelProto

_FORMER = f"{FEATURES_NAME}.former"


def add_features(model: "ModelProto") -> bool:
    """Let a graph that returns `probabilities` return `features` after it; return whether it does.

    What computes the probabilities stays as it is. An output `features` of the same kind is kept. Any other output is
    left out.
    """
    found = find_class_head(model)
    is_there = found is not None and returns_map(model, found)
    outputs = {value.name: value for value in model.graph.output}
    del model.graph.output[:]
    model.graph.output.append(outputs[OUTPUT_NAME])
    if found is None:
        return False
    if is_there:
        model.graph.output.append(outputs[FEATURES_NAME])
    else:
        _append(model, found)
    return True


def _append(model: "ModelProto", found: FoundHead) -> None:
    from onnx import TensorProto, helper

    graph = model.graph
    tensor = found.tensor
    if tensor != FEATURES_NAME or found.conversions:
        # A tensor between that has this name: of `features.former` nobody knows.
        _rename(model, FEATURES_NAME, _FORMER)
        tensor = _FORMER if tensor == FEATURES_NAME else tensor
    if not found.conversions:
        _rename(model, tensor, FEATURES_NAME)
    for operator in found.conversions:
        is_last = operator == found.conversions[-1]
        output = FEATURES_NAME if is_last else f"{FEATURES_NAME}.float"
        kind = {"to": TensorProto.FLOAT} if operator == "Cast" else {"perm": [0, 3, 1, 2]}
        graph.node.append(helper.make_node(operator, [tensor], [output], name=output, **kind))
        tensor = output
    shape = ["batch", found.head.weights.shape[1], *found.places]
    graph.output.append(helper.make_tensor_value_info(FEATURES_NAME, TensorProto.FLOAT, shape))
    graph.output[1].type.tensor_type.shape.dim[0].CopyFrom(graph.output[0].type.tensor_type.shape.dim[0])


def _rename(model: "ModelProto", name: str, new_name: str) -> None:
    """Rename a tensor wherever it is named."""
    for node in walk_nodes(model.graph):
        for names in (node.input, node.output):
            names[:] = [new_name if one == name else one for one in names]
    for value in (*model.graph.value_info, *model.graph.initializer):
        if value.name == name:
            value.name = new_name
