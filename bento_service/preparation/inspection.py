"""What an ONNX graph is: its input, its output, its activation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Layout = Literal["NCHW", "NHWC"]
ElementType = Literal["f32", "f16", "uint8"]
Activation = Literal["softmax", "sigmoid", "none"]


@dataclass(frozen=True, slots=True)
class GraphHints:
    """What a graph does not say of itself, or says ambiguously: the flags `--output`, `--layout`, `--input-size`.

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
    `is_wrapped` says that it takes and returns what `preparation.graph` says. `file_bytes` has external data in it.
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
