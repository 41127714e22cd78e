"""Let a torch program return its last feature map, where its head is pooling and linear layers."""

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import torch
    from torch import fx

ForwardWithFeatures = Callable[["torch.Tensor"], "tuple[torch.Tensor, torch.Tensor]"]
"""As `cuda_model.Forward`, to probabilities and f32 features, shape (n, channels, rows, columns)."""


def return_features(module: "fx.GraphModule") -> "fx.GraphModule | None":
    """Return a module of the same parameters, a `ForwardWithFeatures`; None where the head is another.

    The map is the one that `models.class_head` finds in the ONNX file of the same model.
    """
    from torch import fx

    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    scores = _first(graph.graph_copy(module.graph, copies))
    found = _find_map(scores)
    if found is None:
        return None
    features, is_channels_last = found
    if is_channels_last:
        features = graph.call_method("permute", (features, 0, 3, 1, 2))
    graph.output((scores, graph.call_method("float", (features,))))
    graph.lint()
    return fx.GraphModule(module, graph)


def _first(output: "fx.node.Argument") -> "fx.Node":
    while isinstance(output, (list, tuple)):
        output = output[0]
    return cast("fx.Node", output)


def _find_map(scores: "fx.Node") -> "tuple[fx.Node, bool] | None":
    """Walk back from the scores to what is pooled; tell whether its channels are last."""
    import torch

    aten = torch.ops.aten
    node = _skip(scores)
    if node.target in {aten.softmax.int, aten._softmax.default, aten.sigmoid.default}:
        node = _skip(node.args[0])
    while node.target == aten.linear.default or _is_pointwise(node):
        node = _skip(node.args[0])
    if node.target == aten.adaptive_avg_pool2d.default and set(cast("list[int]", node.args[1])) == {1}:
        return cast("fx.Node", node.args[0]), False
    if node.target == aten.mean.dim:
        axes = {axis % 4 for axis in cast("list[int]", node.args[1])}
        if axes in ({2, 3}, {1, 2}):
            return cast("fx.Node", node.args[0]), axes == {1, 2}
    return None


def _skip(node: object) -> "fx.Node":
    """Return the first node before those that pass on what is pooled already."""
    import torch

    aten = torch.ops.aten
    passes = {
        *(aten.flatten.using_ints, aten.view.default, aten.reshape.default, aten.dropout.default, aten.clone.default),
        *(aten.squeeze.dim, aten.squeeze.dims, aten.to.dtype, aten._to_copy.default, aten.contiguous.default),
    }
    while cast("fx.Node", node).target in passes:
        node = cast("fx.Node", node).args[0]
    return cast("fx.Node", node)


def _is_pointwise(node: "fx.Node") -> bool:
    """Tell whether it is a convolution of 1x1 over what is pooled already."""
    import torch

    if node.target != torch.ops.aten.conv2d.default:
        return False
    sizes = cast("fx.Node", node.args[0]).meta.get("val")
    return sizes is not None and tuple(sizes.shape[2:]) == (1, 1)
