import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bento_service.errors import ModelLoadError
from bento_service.preparation.inspection import GraphHints, inspect
from tests.fakes.onnx_graphs import make_classifier


def test_an_ordinary_export_is_read_off_its_declarations() -> None:
    model = make_classifier(shape=("n", 3, 8, 8))
    model.metadata_props.add(key="names", value="{0: 'cat'}")

    facts = inspect(model, GraphHints())

    assert (facts.input_name, facts.input_type, facts.layout, facts.channels) == ("picture", "f32", "NCHW", 3)
    assert (facts.batch, facts.height_px, facts.width_px) == (None, 8, 8)
    assert (facts.output_name, facts.output_rank, facts.classes) == ("scores", 2, 3)
    assert (facts.activation, facts.opset, facts.metadata) == ("softmax", 13, {"names": "{0: 'cat'}"})
    assert not facts.is_quantised
    assert not facts.is_wrapped


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"layout": "NHWC"}, {"layout": "NHWC", "channels": 3}),
        ({"channels": 1, "shape": (1, 1, 8, 8)}, {"channels": 1, "batch": 1}),
        ({"shape": ("n", 3, "h", "w")}, {"height_px": None, "width_px": None}),
        (
            {"shape": ("n", "c", "h", "w"), "starts_with_convolution": True},
            {"layout": "NCHW", "channels": 3, "height_px": None},
        ),
        (
            {"layout": "NHWC", "shape": ("n", "h", "w", "c"), "starts_with_convolution": True, "channels": 1},
            {"layout": "NHWC", "channels": 1, "width_px": None},
        ),
        ({"element": TensorProto.FLOAT16}, {"input_type": "f16"}),
        ({"element": TensorProto.UINT8}, {"input_type": "uint8"}),
        ({"last": None}, {"activation": "none"}),
        ({"last": "Sigmoid", "rank": 4}, {"activation": "sigmoid", "output_rank": 4, "classes": 3}),
        ({"weights_as_inputs": True, "opset": 9}, {"input_name": "picture", "opset": 9}),
    ],
)
def test_each_way_to_export_is_recognised(options: dict[str, object], expected: dict[str, object]) -> None:
    facts = inspect(make_classifier(**options), GraphHints())  # type: ignore[arg-type]

    assert {name: getattr(facts, name) for name in expected} == expected


def test_channels_that_can_be_either_dimension_need_the_layout_flag() -> None:
    model = make_classifier(shape=("n", 3, 8, 3))

    with pytest.raises(ModelLoadError, match=r"\(\?, 3, 8, 3\).* State `--layout NCHW` or `--layout NHWC`"):
        inspect(model, GraphHints())
    assert inspect(model, GraphHints(layout="NCHW")).width_px == 3


def test_several_outputs_are_named_and_one_is_chosen() -> None:
    model = make_classifier()
    model.graph.output.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 12]))

    with pytest.raises(ModelLoadError, match=r"'scores', 'features'\. State the scores' one: `--output NAME`"):
        inspect(model, GraphHints())
    assert inspect(model, GraphHints(output="scores")).classes == 3
    with pytest.raises(ModelLoadError, match="no output 'x'"):
        inspect(model, GraphHints(output="x"))


def _with_output(shape: list[int], element: int = TensorProto.FLOAT) -> onnx.ModelProto:
    model = make_classifier()
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("scores", element, shape))
    return model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (_with_output([1, 84, 8400]), r"\(1, 84, 8400\).*Detection and segmentation"),
        (_with_output([1, 3], TensorProto.INT64), "'scores' is int64; Lightbox serves f32, f16"),
        (make_classifier(shape=("n", 784)), r"\(\?, 784\); an image classifier takes four dimensions"),
        (make_classifier(shape=("n", "c", "h", "w")), "no dimension has the 1 or 3 channels"),
        (make_classifier(shape=("n", 4, 8, 8)), "no dimension has the 1 or 3 channels"),
        (make_classifier(element=TensorProto.DOUBLE), "'picture' is double"),
    ],
)
def test_what_is_no_image_classifier_is_refused_with_the_reason(model: onnx.ModelProto, message: str) -> None:
    with pytest.raises(ModelLoadError, match=message):
        inspect(model, GraphHints())


def test_a_quantised_graph_says_so() -> None:
    scale = [helper.make_node("QuantizeLinear", ["features", "scale"], ["small"])]
    model = make_classifier(further=scale)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(1, np.float32), "scale"))

    assert inspect(model, GraphHints()).is_quantised
