"""The head of a classifier that is pooling and a linear layer: what each place of an image adds to a class.

Before its activation, the score of a class is the mean over all places of `weights[class] @ features[:, row, column]`,
plus `bias[class]`: a class activation map (Zhou et al., 2016, arXiv:1512.04150) takes that mean apart again.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.graph import FEATURES_NAME, OUTPUT_NAME

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, ValueInfoProto

_PASSES: Final = frozenset(
    ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Gather", "Identity", "Dropout", "Cast")
)
"""Operators that may leave scores or pooled features what they are; `_is_proven` sees whether they do."""
_POOLS: Final = frozenset(("GlobalAveragePool", "AveragePool", "ReduceMean"))
_ACTIVATIONS: Final = frozenset(("Softmax", "Sigmoid"))
_MOST_OPERATORS, _MOST_SIZES = 200, 16
"""Operators of a head, those that compute shapes among them; and numbers of a constant that may be a shape."""
_TOLERANCE, _HALF_TOLERANCE = 1e-4, 1e-2
"""Of the scores of a trial, as a share of the largest: rounding in f32 and f16. Anything else differs by far more."""
_FREE_SIZES: Final = (3, 5)
"""Rows and columns of a trial where the graph takes any."""

Layout = Literal["NCHW", "NHWC"]


@dataclass(frozen=True, slots=True, eq=False)
class ClassHead:
    """A linear layer over pooled features: `weights` of shape (classes, channels), `bias` of shape (classes,)."""

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class FoundHead:
    """A head in a graph: `tensor` is the feature map that is pooled.

    `element` is ONNX's number of its type, and `places` are its rows and columns, None where they are free.
    """

    head: ClassHead
    tensor: str
    element: int
    layout: Layout
    places: tuple[int | None, int | None]

    @property
    def conversions(self) -> tuple[str, ...]:
        """The operators that make it f32 and NCHW, as the output `features` is."""
        from onnx import TensorProto

        cast = ("Cast",) if self.element != TensorProto.FLOAT else ()
        return (*cast, "Transpose") if self.layout == "NHWC" else cast


def read_class_head(onnx_path: Path) -> ClassHead | None:
    """Return the head that belongs to the features of a stored graph; None where it returns none.

    Reads the whole file, which takes some tenths of a second.

    Raises:
        ModuleNotFoundError: The package `onnx` is not installed.
    """
    import onnx

    model = onnx.load(onnx_path)
    if not has_features(model):
        return None
    found = find_class_head(model)
    return found.head if found is not None and returns_map(model, found) else None


def has_features(model: "ModelProto") -> bool:
    """Tell whether a graph has the output `features`."""
    return any(value.name == FEATURES_NAME for value in model.graph.output)


def returns_map(model: "ModelProto", found: FoundHead) -> bool:
    """Tell whether the output `features` is the feature map of this head."""
    makers = {name: node for node in model.graph.node for name in node.output}
    name = FEATURES_NAME
    for operator in reversed(found.conversions):
        node = makers.get(name)
        if node is None or node.op_type != operator:
            return False
        name = node.input[0]
    return name == found.tensor and has_features(model)


def find_class_head(model: "ModelProto") -> FoundHead | None:
    """Find the head by walking back from `probabilities`; None where it is more than pooling and linear layers.

    Several linear layers without an activation between them count as one. Where the pooled map has the classes
    themselves as channels (SqueezeNet), the weights are the identity. What the walk finds is tried with random maps.
    """
    try:
        return _Search(model).find()
    # Of a graph from outside: operators that onnx cannot run, weights that do not fit. Such a head is not known.
    except Exception:  # noqa: BLE001
        return None


class _Search:
    """Walks back from the scores; `_linear` is the product of the linear layers so far, None before the first."""

    def __init__(self, model: "ModelProto") -> None:
        self._model = model
        self._makers = {name: node for node in model.graph.node for name in node.output}
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self._values = _infer_types(model)
        self._linear: NDArray[np.float32] | None = None
        self._bias: NDArray[np.float32] = np.zeros(1, np.float32)

    def find(self) -> FoundHead | None:
        logits = self._skip(OUTPUT_NAME)
        if (node := self._makers.get(logits)) is not None and node.op_type in _ACTIVATIONS:
            logits = self._skip(node.input[0])
        tensor = logits
        while (node := self._makers.get(tensor)) is not None and node.op_type not in _POOLS:
            follow = self._multiply(node)
            if follow is None:
                return None
            tensor = self._skip(follow)
        # `x.mean(3).mean(2)` are two.
        while (node := self._makers.get(tensor)) is not None and node.op_type in _POOLS:
            tensor = node.input[0]
        value = self._values.get(tensor)
        if value is None or tensor == logits or tensor not in self._makers:
            return None
        return self._try_layouts(value, logits)

    def _skip(self, name: str) -> str:
        """Return the first tensor before operators that pass on."""
        while (node := self._makers.get(name)) is not None and node.op_type in _PASSES:
            name = node.input[0]
        return name

    def _multiply(self, node: "NodeProto") -> str | None:
        """Take in a linear layer, or the addition of a bias; return the tensor that it reads, None for others."""
        values = {attribute.name: attribute for attribute in node.attribute}
        data: str = node.input[0]
        if node.op_type == "Add":
            data, other = sorted(node.input, key=self._is_constant)
            self._take(None, self._read(other))
            return data
        if node.op_type not in {"Gemm", "MatMul", "Conv"}:
            return None
        weights = self._read(node.input[1])
        bias = self._read(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1, np.float32)
        match node.op_type:
            case "Gemm":
                weights = weights if "transB" in values and values["transB"].i else weights.T
                self._take(
                    weights * (values["alpha"].f if "alpha" in values else 1.0),
                    bias * (values["beta"].f if "beta" in values else 1.0),
                )
            case "MatMul":
                self._take(weights.T, bias)
            case "Conv":
                if weights.shape[2:] != (1, 1):
                    return None
                self._take(weights[:, :, 0, 0], bias)
        return data

    def _take(self, weights: "NDArray[np.float32] | None", bias: "NDArray[np.float32]") -> None:
        """Put a layer in front of those after it; the layer of a bias alone has no weights."""
        after = self._linear
        added = bias.reshape(-1)
        if after is not None:
            added = after @ np.broadcast_to(added, after.shape[1])
        self._bias = self._bias + added
        if weights is not None:
            self._linear = weights if after is None else after @ weights

    def _read(self, name: str) -> NDArray[np.float32]:
        """Return a constant in f32, which operators may compute from others.

        Raises:
            ValueError: It is none.
        """
        from onnx import numpy_helper

        tensor = self._tensors.get(name)
        values = numpy_helper.to_array(tensor) if tensor is not None else self._compute(name, {}, batch=None)
        return values.astype(np.float32)

    def _is_constant(self, name: str) -> bool:
        return name in self._tensors or not self._collect(name, {})[1]

    def _try_layouts(self, value: "ValueInfoProto", logits: str) -> FoundHead | None:
        batch, *sizes = [dim.dim_value or None for dim in value.type.tensor_type.shape.dim]
        if len(sizes) != 3:
            return None
        layouts: tuple[tuple[Layout, int], ...] = (("NCHW", 0), ("NHWC", 2))
        for layout, at in layouts:
            channels = sizes[at] if self._linear is None else self._linear.shape[1]
            if channels is None or sizes[at] not in {None, channels}:
                continue
            weights = np.eye(channels, dtype=np.float32) if self._linear is None else self._linear
            bias = np.broadcast_to(self._bias, len(weights))
            rows, columns = sizes[:at] + sizes[at + 1 :]
            head = ClassHead(np.ascontiguousarray(weights), np.ascontiguousarray(bias))
            found = FoundHead(head, value.name, value.type.tensor_type.elem_type, layout, (rows, columns))
            rows, columns = rows or _FREE_SIZES[0], columns or _FREE_SIZES[1]
            if self._is_proven(found, logits, (batch or 2, channels, rows, columns)):
                return found
        return None

    def _is_proven(self, found: FoundHead, logits: str, shape_nchw: tuple[int, ...]) -> bool:
        """Run the operators between a random map and the scores; tell whether these are what the head says."""
        from onnx import helper

        element = helper.tensor_dtype_to_np_dtype(found.element)
        maps = np.random.default_rng(0).uniform(0, 2, shape_nchw).astype(element)
        fed = maps if found.layout == "NCHW" else maps.transpose(0, 2, 3, 1)
        scores = self._compute(logits, {found.tensor: fed}, batch=len(maps)).astype(np.float32)
        expected = maps.astype(np.float32).mean((2, 3)) @ found.head.weights.T + found.head.bias
        if scores.size != expected.size or len(scores) != len(expected):
            return False
        difference = np.abs(scores.reshape(expected.shape) - expected).max()
        tolerance = _TOLERANCE if element.itemsize > 2 else _HALF_TOLERANCE
        return bool(difference <= tolerance * max(1.0, np.abs(expected).max()))

    def _collect(self, name: str, given: Mapping[str, object]) -> "tuple[list[NodeProto], set[str]]":
        """Return the operators between given tensors and another one, in order, and the graph's inputs they take."""
        wanted, inputs, nodes = [name], set[str](), dict[str, "NodeProto"]()
        while wanted:
            tensor = wanted.pop()
            if not tensor or tensor in given or tensor in self._tensors:
                continue
            node = self._makers.get(tensor)
            if node is None:
                inputs.add(tensor)
            elif node.output[0] not in nodes:
                nodes[node.output[0]] = node
                wanted += node.input
            if len(nodes) > _MOST_OPERATORS:
                raise ValueError("these are more operators than a head has")
        return [node for node in self._model.graph.node if node.output[0] in nodes], inputs

    def _compute(self, name: str, given: Mapping[str, NDArray[Any]], *, batch: int | None) -> NDArray[Any]:
        """Run the operators between given tensors and another one, with black images where they read a batch's shape.

        Raises:
            ValueError: It follows from the images, and `batch` is None.
        """
        from onnx import helper
        from onnx.reference import ReferenceEvaluator

        nodes, inputs = self._collect(name, given)
        if inputs and batch is None:
            raise ValueError(f"{name} is no constant")
        fed = dict(given)
        for value in self._model.graph.input:
            if value.name in inputs:
                tensor = value.type.tensor_type
                sizes = [batch, *(dim.dim_value for dim in tensor.shape.dim[1:])]
                fed[value.name] = np.zeros(sizes, helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        read = {tensor for node in nodes for tensor in node.input}
        part = helper.make_graph(
            nodes,
            "head",
            [
                helper.make_tensor_value_info(key, helper.np_dtype_to_tensor_dtype(one.dtype), one.shape)
                for key, one in fed.items()
            ],
            [helper.make_empty_tensor_value_info(name)],
            [tensor for key, tensor in self._tensors.items() if key in read],
        )
        model = helper.make_model(part, opset_imports=self._model.opset_import, ir_version=self._model.ir_version)
        [computed] = ReferenceEvaluator(model).run([name], fed)
        answer: NDArray[Any] = np.asarray(computed)
        return answer


def _infer_types(model: "ModelProto") -> "Mapping[str, ValueInfoProto]":
    """Return what is known of the tensors between operators, by name."""
    from onnx import ModelProto, TensorProto, shape_inference

    # The inference copies what it is given; of large weights the shape is enough.
    light = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    for kind in ("node", "input", "output", "value_info"):
        getattr(light.graph, kind).extend(getattr(model.graph, kind))
    for tensor in model.graph.initializer:
        shape = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        light.graph.initializer.append(tensor if math.prod(tensor.dims) <= _MOST_SIZES else shape)
    inferred = shape_inference.infer_shapes(light, data_prop=True).graph
    return {value.name: value for value in (*inferred.value_info, *inferred.output)}
