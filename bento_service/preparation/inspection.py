"""What an ONNX graph is: its input, its output, its activation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from bento_service.domain.graph import FEATURES_NAME, INPUT_NAME, OUTPUT_NAME
from bento_service.errors import ModelLoadError
from bento_service.preparation.onnx_file import find_opset, walk_nodes

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, ValueInfoProto

Layout = Literal["NCHW", "NHWC"]
ElementType = Literal["f32", "f16", "uint8"]
Activation = Literal["softmax", "sigmoid", "none"]

_PASSES_SCORES: Final = frozenset(
    ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Cast", "Dropout", "QuantizeLinear", "DequantizeLinear")
)
"""Operators that leave scores what they are."""
_PASSES_WEIGHTS: Final = frozenset(("Identity", "Cast", "DequantizeLinear"))
_PASSES_PIXELS: Final = _PASSES_WEIGHTS | {"QuantizeLinear", "Add", "Sub", "Mul", "Div", "Pad", "Clip"}
"""Operators that keep the shape of weights, and the layout of an image."""
_ACTIVATIONS: Final[Mapping[str, Activation]] = {"Softmax": "softmax", "Sigmoid": "sigmoid"}


@dataclass(frozen=True, slots=True)
class GraphHints:
    """What a graph does not say of itself, or says ambiguously: the flags `--output` and `--layout`.

    `allow_any_operator` (`--allow-any-operator`) accepts Loop, Scan, If and operators outside ONNX's own domain.
    """

    output: str | None = None
    layout: Layout | None = None
    allow_any_operator: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphFacts:
    """What an ONNX graph is.

    `batch`, `height_px` and `width_px` are None where they are free. `classes` is None where only a run can tell.
    `output_rank` is 2, or 4 for (n, classes, 1, 1). `activation` is what the scores go through last inside the graph:
    seen in its operators, or in the scores of a first run, which sum to one after a softmax.

    `metadata` are the file's `metadata_props`. `is_quantised` says that it has QuantizeLinear or its like.
    `is_wrapped` says that it takes and returns what `domain.graph` says. `file_bytes` has external data in it.
    """

    input_name: str
    input_type: ElementType
    layout: Layout
    channels: int
    height_px: int | None
    width_px: int | None
    batch: int | None
    output_name: str
    output_rank: int
    classes: int | None
    activation: Activation
    opset: int
    producer: str
    metadata: Mapping[str, str]
    is_quantised: bool
    is_wrapped: bool
    file_bytes: int


def inspect(model: "ModelProto", hints: GraphHints) -> GraphFacts:
    """Say what a graph is, by its declarations and operators alone.

    Raises:
        ModelLoadError: It is no image classifier, or needs a hint.
    """
    graph = model.graph
    image = find_input(graph)
    input_type = _name_type(image, f"The input {image.name!r}", ("f32", "f16", "uint8"))
    batch, layout, channels, height_px, width_px = _read_image_shape(graph, image, hints.layout)
    output = _find_output(graph, hints.output)
    _name_type(output, f"The output {output.name!r}", ("f32", "f16"))
    shape = _infer_shape(model, output)
    rank, classes = _read_score_shape(output.name, shape)
    names = (input_type, layout, image.name, output.name, rank)
    return GraphFacts(
        input_name=image.name,
        input_type=input_type,
        layout=layout,
        channels=channels,
        height_px=height_px,
        width_px=width_px,
        batch=batch,
        output_name=output.name,
        output_rank=rank,
        classes=classes,
        activation=_find_activation(graph, output.name),
        opset=find_opset(model),
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        metadata={entry.key: entry.value for entry in model.metadata_props},
        is_quantised=any("QuantizeLinear" in node.op_type or "Integer" in node.op_type for node in walk_nodes(graph)),
        is_wrapped=names == ("uint8", "NHWC", INPUT_NAME, OUTPUT_NAME, 2),
        file_bytes=model.ByteSize(),
    )


def find_input(graph: "GraphProto") -> "ValueInfoProto":
    """Return the only input that is no weight; files of IR 3 and earlier list their weights as inputs too.

    Raises:
        ModelLoadError: There is none or several.
    """
    weights = {tensor.name for tensor in graph.initializer} | {
        tensor.values.name for tensor in graph.sparse_initializer
    }
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1:
        names = ", ".join(repr(value.name) for value in inputs) or "none"
        raise ModelLoadError(f"The graph must take one image; its inputs are: {names}.")
    image: ValueInfoProto = inputs[0]
    return image


def shape_of(value: "ValueInfoProto") -> list[int | None] | None:
    """Return the declared sizes, None for a free one; None where no shape is declared."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in tensor.shape.dim]


def _read_image_shape(
    graph: "GraphProto", image: "ValueInfoProto", stated: Layout | None
) -> tuple[int | None, Layout, int, int | None, int | None]:
    """Return batch, layout, channels, height and width."""
    shape = shape_of(image)
    shown = _show(shape)
    if shape is None or len(shape) != 4:
        raise ModelLoadError(
            f"The input {image.name!r} has the shape {shown}; an image classifier takes four dimensions: batch, "
            "channels, height and width, or batch, height, width and channels."
        )
    batch, first, _, last = shape
    if None in (first, last) and not {first, last} & {1, 3}:
        layout, channels = _read_first_convolution(graph, image.name)
        first, last = (channels, last) if layout == "NCHW" else (first, channels)
    channels_of: Mapping[Layout, int | None] = {"NCHW": first, "NHWC": last}
    fits = [layout for layout, size in channels_of.items() if size in (1, 3)]
    if stated is not None:
        fits = [layout for layout in fits if layout == stated]
    if not fits:
        wanted = f" with the layout {stated}" if stated else ""
        raise ModelLoadError(
            f"The input {image.name!r} has the shape {shown}{wanted}: no dimension has the 1 or 3 channels of an "
            "image. Export it with a fixed number of channels."
        )
    if len(fits) == 2:
        raise ModelLoadError(
            f"The input {image.name!r} has the shape {shown}, in which either dimension can be the channels. State "
            "`--layout NCHW` or `--layout NHWC`."
        )
    if fits[0] == "NCHW":
        return batch, "NCHW", first or 0, shape[2], shape[3]
    return batch, "NHWC", last or 0, shape[1], shape[2]


def _read_first_convolution(graph: "GraphProto", name: str) -> tuple[Layout, int | None]:
    """Return the layout and the channels of the image by the convolution that reads it, where shapes leave both open.

    Exports of Hugging Face's models declare all four dimensions free.
    """
    sizes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    layouts: dict[str, Layout] = {name: "NCHW"}
    for node in graph.node:
        tensor = node.input[0] if node.input else ""
        if node.op_type in _PASSES_WEIGHTS and tensor in sizes:
            sizes[node.output[0]] = sizes[tensor]
        of_image = next((layouts[read] for read in node.input if read in layouts), None)
        if of_image is None:
            continue
        if node.op_type == "Conv" and tensor in layouts:
            weight = sizes.get(node.input[1])
            groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
            return of_image, weight[1] * groups if weight else None
        if node.op_type == "Transpose":
            moved = next((list(attribute.ints) for attribute in node.attribute if attribute.name == "perm"), [])
            layouts[node.output[0]] = "NHWC" if moved == [0, 3, 1, 2] else of_image
        elif node.op_type in _PASSES_PIXELS:
            layouts[node.output[0]] = of_image
    return "NCHW", None


def _find_output(graph: "GraphProto", stated: str | None) -> "ValueInfoProto":
    outputs = {value.name: value for value in graph.output}
    if stated is None and OUTPUT_NAME in outputs:
        # The second output of a graph of ours.
        outputs.pop(FEATURES_NAME, None)
    names = ", ".join(repr(name) for name in outputs)
    if stated is not None and stated not in outputs:
        raise ModelLoadError(f"The graph has no output {stated!r}; its outputs are: {names}.")
    if stated is None and len(outputs) != 1:
        raise ModelLoadError(f"The graph has several outputs: {names}. State the scores' one: `--output NAME`.")
    scores: ValueInfoProto = outputs[stated] if stated is not None else next(iter(outputs.values()))
    return scores


def _infer_shape(model: "ModelProto", output: "ValueInfoProto") -> list[int | None] | None:
    declared = shape_of(output)
    if declared is not None and None not in declared[1:]:
        return declared
    from onnx import shape_inference

    inferred = shape_inference.infer_shapes(model).graph.output
    return next((shape_of(value) for value in inferred if value.name == output.name), None) or declared


def _read_score_shape(name: str, shape: Sequence[int | None] | None) -> tuple[int, int | None]:
    """Return rank and number of classes; a missing shape is taken for rank 2, and the first run checks it."""
    if shape is None:
        return 2, None
    match list(shape):
        case [_, classes]:
            return 2, classes
        case [_, classes, 1, 1] | [_, 1, 1, classes]:
            return 4, classes
        case [_, classes, None, None]:
            return 4, classes
    raise ModelLoadError(
        f"The output {name!r} has the shape {_show(shape)}; a classifier returns a score for each class, (n, classes) "
        "or (n, classes, 1, 1). Detection and segmentation are not served."
    )


def _find_activation(graph: "GraphProto", name: str) -> Activation:
    """Walk back from the scores to the operator that made them what they are."""
    makers = {output: node for node in graph.node for output in node.output}
    while (node := makers.get(name)) is not None:
        if node.op_type in _ACTIVATIONS:
            return _ACTIVATIONS[node.op_type]
        if node.op_type not in _PASSES_SCORES:
            break
        name = node.input[0]
    return "none"


def _name_type(value: "ValueInfoProto", subject: str, allowed: Sequence[ElementType]) -> ElementType:
    from onnx import TensorProto

    names: Mapping[int, ElementType] = {
        TensorProto.FLOAT: "f32",
        TensorProto.FLOAT16: "f16",
        TensorProto.UINT8: "uint8",
    }
    number = value.type.tensor_type.elem_type
    name = names.get(number)
    if name is None or name not in allowed:
        given = TensorProto.DataType.Name(number).lower() if number else "no tensor"
        raise ModelLoadError(f"{subject} is {given}; Lightbox serves {', '.join(allowed)}.")
    return name


def _show(shape: Sequence[int | None] | None) -> str:
    return "(unknown)" if shape is None else f"({', '.join('?' if size is None else str(size) for size in shape)})"
