"""Small ONNX classifiers, as people export them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

CLASSES = 3


def make_classifier(
    *,
    layout: str = "NCHW",
    shape: Sequence[int | str] | None = None,
    channels: int = 3,
    element: int = TensorProto.FLOAT,
    last: str | None = "Softmax",
    rank: int = 2,
    opset: int = 13,
    weights_as_inputs: bool = False,
    starts_with_convolution: bool = False,
    is_pooled: bool = False,
    batch_in_reshape: int | None = None,
    further: Sequence[NodeProto] = (),
) -> onnx.ModelProto:
    """Return a classifier of the mean colours of the four quarters of an image, `picture` to `scores`.

    With `is_pooled` it goes by the mean colours of the whole image: its head is pooling and a linear layer.

    `further` operators may use `features` and `scores`.
    """
    half = element == TensorProto.FLOAT16
    kind = np.float16 if half else np.float32
    random = np.random.default_rng(5)
    weights = random.normal(0, 1, (channels if is_pooled else channels * 4, CLASSES)).astype(kind)
    nodes, tensor = [], "picture"
    if element == TensorProto.UINT8:
        nodes.append(helper.make_node("Cast", [tensor], ["real"], to=TensorProto.FLOAT))
        tensor = "real"
    if layout == "NHWC":
        nodes.append(helper.make_node("Transpose", [tensor], ["first"], perm=[0, 3, 1, 2]))
        tensor = "first"
    constants = []
    if starts_with_convolution:
        constants.append(numpy_helper.from_array(np.eye(channels, dtype=kind)[..., None, None], "mix"))
        nodes.append(helper.make_node("Conv", [tensor, "mix"], ["mixed"], kernel_shape=[1, 1]))
        tensor = "mixed"
    nodes.append(helper.make_node("AveragePool", [tensor], ["quarters"], kernel_shape=[4, 4], strides=[4, 4]))
    sizes = np.array([batch_in_reshape or 0, len(weights)], np.int64)
    if is_pooled:
        nodes.append(helper.make_node("GlobalAveragePool", ["quarters"], ["pooled"]))
    nodes += [
        helper.make_node("Reshape", ["pooled" if is_pooled else "quarters", "sizes"], ["features"]),
        helper.make_node("MatMul", ["features", "weights"], ["logits"]),
    ]
    constants += [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(sizes, "sizes")]
    tensor = "logits"
    if last:
        axis = {"axis": 1} if last == "Softmax" else {}
        nodes.append(helper.make_node(last, [tensor], ["active"], None, None, None, None, **axis))
        tensor = "active"
    if rank == 4:
        constants.append(numpy_helper.from_array(np.array([0, CLASSES, 1, 1], np.int64), "four"))
        nodes.append(helper.make_node("Reshape", [tensor, "four"], ["scores"]))
    else:
        nodes.append(helper.make_node("Identity", [tensor], ["scores"]))
    size: Sequence[int | str] = shape or (("n", channels, 8, 8) if layout == "NCHW" else ("n", 8, 8, channels))
    score_type = element if half else TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info("picture", element, size)]
    if weights_as_inputs:
        inputs += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in constants]
    scores = helper.make_tensor_value_info("scores", score_type, [size[0], CLASSES, *([1, 1] if rank == 4 else [])])
    graph = helper.make_graph([*nodes, *further], "classifier", inputs, [scores], constants)
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=3 if weights_as_inputs else 8)


def save(model: onnx.ModelProto, path: Path) -> Path:
    """Write a model; return its path."""
    onnx.save(model, path)
    return path
