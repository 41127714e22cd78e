"""Heads as exporters write them: what is found explains the scores to the last digits, and no other head is found."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from bento_service.models.class_head import find_class_head, read_class_head
from bento_service.preparation.features import add_features

CHANNELS, CLASSES, SIDE = 5, 4, 6
RANDOM = np.random.default_rng(2)
WEIGHTS = RANDOM.normal(0, 1, (CLASSES, CHANNELS)).astype(np.float32)
CONSTANTS: dict[str, np.ndarray] = {
    "kernel": RANDOM.normal(0, 0.5, (CHANNELS, 3, 1, 1)),
    "ck": WEIGHTS,
    "kc": WEIGHTS.T.copy(),
    "ck11": WEIGHTS[:, :, None, None],
    "kc_half": WEIGHTS.T.astype(np.float16),
    "kk": RANDOM.normal(0, 1, (CHANNELS, CHANNELS)),
    "flat": RANDOM.normal(0, 1, (CHANNELS * SIDE * SIDE, CLASSES)),
    "c": RANDOM.normal(0, 1, CLASSES),
    "k": RANDOM.normal(0, 1, CHANNELS),
    "spatial": np.array([2, 3]),
    "last": np.array([-2, -1]),
    "middle": np.array([1, 2]),
    "two": np.array([2]),
    "three": np.array([3]),
    "to_k": np.array([0, CHANNELS]),
    "to_flat": np.array([0, -1]),
    "minus": np.array([-1]),
    "turned": np.arange(CHANNELS)[::-1].copy(),
    "in_order": np.arange(CHANNELS),
    "one": np.array([1]),
}
LINEAR = "logits = Gemm <transB = 1> (pooled, ck, c)"
SOFTMAX = "probabilities = Softmax <axis = 1> (logits)"
POOL = "pooled = ReduceMean <keepdims = 0> (map, spatial)"
KNOWN = {
    "Gemm over ReduceMean": f"{POOL} {LINEAR} {SOFTMAX}",
    "Gemm without transB": f"{POOL} logits = Gemm (pooled, kc, c) {SOFTMAX}",
    "alpha and beta": f"{POOL} logits = Gemm <alpha = 0.5, beta = 2.0, transB = 1> (pooled, ck, c) {SOFTMAX}",
    "Gemm without a bias": f"{POOL} logits = Gemm (pooled, kc) {SOFTMAX}",
    "MatMul and Add": f"{POOL} product = MatMul (pooled, kc) logits = Add (product, c) {SOFTMAX}",
    "Add of a bias first": f"{POOL} product = MatMul (pooled, kc) logits = Add (c, product) {SOFTMAX}",
    "MatMul alone": f"{POOL} logits = MatMul (pooled, kc) {SOFTMAX}",
    "weights that operators make": f"{POOL} w = Transpose (ck) logits = MatMul (pooled, w) {SOFTMAX}",
    "weights stored in f16": f"{POOL} w = Cast <to = 1> (kc_half) logits = MatMul (pooled, w) {SOFTMAX}",
    "global pooling and Flatten": f"p = GlobalAveragePool (map) pooled = Flatten (p) {LINEAR} {SOFTMAX}",
    "pooling over the whole map": f"""p = AveragePool <kernel_shape = [{SIDE}, {SIDE}]> (map)
        pooled = Reshape (p, to_k) {LINEAR} {SOFTMAX}""",
    "negative axes": f"pooled = ReduceMean <keepdims = 0> (map, last) {LINEAR} {SOFTMAX}",
    "one axis after the other": f"""p = ReduceMean <keepdims = 0> (map, three)
        pooled = ReduceMean <keepdims = 0> (p, two) {LINEAR} {SOFTMAX}""",
    "a convolution of 1x1": f"""p = GlobalAveragePool (map) s = Conv (p, ck11, c)
        logits = Flatten (s) {SOFTMAX}""",
    "scores of four dimensions": """p = GlobalAveragePool (map) logits = Conv (p, ck11, c)
        s = Softmax <axis = 1> (logits) probabilities = Flatten (s)""",
    "class maps that are pooled": f"s = Conv (map, ck11, c) maps = Relu (s) p = GlobalAveragePool (maps) "
    f"logits = Flatten (p) {SOFTMAX}",
    "two linear layers": f"{POOL} h = Gemm (pooled, kk, k) logits = Gemm (h, kc, c) {SOFTMAX}",
    "a bias before the layer": f"{POOL} h = Add (pooled, k) logits = MatMul (h, kc) {SOFTMAX}",
    "sigmoid": f"{POOL} {LINEAR} probabilities = Sigmoid (logits)",
    "no activation": f"{POOL} logits = Gemm <transB = 1> (pooled, ck, c) probabilities = Identity (logits)",
    "Dropout, Identity and Cast": f"""{POOL} d = Dropout (pooled) i = Identity (d) f = Cast <to = 1> (i)
        logits = Gemm <transB = 1> (f, ck, c) {SOFTMAX}""",
    "Gather in order": f"""{POOL} g = Gather <axis = 1> (pooled, in_order)
        logits = Gemm <transB = 1> (g, ck, c) {SOFTMAX}""",
    "as_strided": f"""p = GlobalAveragePool (map) line = Reshape (p, minus) size = Size (line)
        zero = Constant <value_int = 0> () step = Constant <value_int = 1> ()
        places = Range (zero, size, step) g = Gather (line, places)
        s = Shape <end = 1> (images) ck_ = Constant <value_ints = [{CHANNELS}]> () shape = Concat <axis = 0> (s, ck_)
        pooled = Reshape (g, shape) {LINEAR} {SOFTMAX}""",
    "channels last": f"""last_map = Transpose <perm = [0, 2, 3, 1]> (map) l = Relu (last_map)
        pooled = ReduceMean <keepdims = 0> (l, middle) {LINEAR} {SOFTMAX}""",
}
OTHERS = {
    "an activation after pooling": f"""{POOL} h = HardSwish (pooled)
        logits = Gemm <transB = 1> (h, ck, c) {SOFTMAX}""",
    "a hidden layer": f"{POOL} h = Gemm (pooled, kk, k) r = Relu (h) logits = Gemm (r, kc, c) {SOFTMAX}",
    "two activations": f"{POOL} {LINEAR} s = Softmax <axis = 1> (logits) probabilities = Softmax <axis = 1> (s)",
    "the largest of each map": f"p = GlobalMaxPool (map) pooled = Flatten (p) {LINEAR} {SOFTMAX}",
    "no pooling": f"f = Reshape (map, to_flat) logits = MatMul (f, flat) {SOFTMAX}",
    "pooling of parts": f"""p = AveragePool <kernel_shape = [3, 3]> (map) q = GlobalMaxPool (p)
        pooled = Flatten (q) {LINEAR} {SOFTMAX}""",
    "channels in another order": f"""{POOL} g = Gather <axis = 1> (pooled, turned)
        logits = Gemm <transB = 1> (g, ck, c) {SOFTMAX}""",
    "a second branch": f"""{POOL} r = Relu (pooled) a = MatMul (pooled, kc) b = MatMul (r, kc)
        logits = Add (a, b) {SOFTMAX}""",
    "axes of channels": f"""p = ReduceMean <keepdims = 0> (map, one) f = Flatten (p)
        g = Gather <axis = 1> (f, in_order) logits = Gemm <transB = 1> (g, ck, c) {SOFTMAX}""",
}


def make_model(body: str, *, batch: str = "n", half: bool = False) -> onnx.ModelProto:
    """Return a graph from images to `probabilities` over the feature map `map`; `body` is its head."""
    element = "float16" if half else "float"
    to = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    graph = parser.parse_graph(
        f"""served (uint8[{batch},{SIDE},{SIDE},3] images) => ({element}[{batch},{CLASSES}] probabilities) {{
        real = Cast <to = {to}> (images) first = Transpose <perm = [0, 3, 1, 2]> (real)
        mixed = Conv (first, kernel) map = Relu (mixed) {body} }}"""
    )
    read = {name for node in graph.node for name in node.input}
    for name, values in CONSTANTS.items():
        real = np.issubdtype(values.dtype, np.floating)
        kind = values.dtype if not real or name == "kc_half" else np.float16 if half else np.float32
        if name in read:
            graph.initializer.append(numpy_helper.from_array(values.astype(kind), name))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model: onnx.ModelProto, *names: str) -> list[np.ndarray]:
    images = np.random.default_rng(0).integers(0, 8, (2, SIDE, SIDE, 3), np.uint8)
    answers = ReferenceEvaluator(model).run(list(names), {"images": images})
    return [np.asarray(answer, np.float32) for answer in answers]


@pytest.mark.parametrize("body", KNOWN.values(), ids=KNOWN)
def test_the_mean_of_the_class_maps_and_the_bias_are_the_score_before_its_activation(body: str, tmp_path: Path) -> None:
    model = make_model(body)
    [expected] = run(model, "logits")

    assert add_features(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, tmp_path / "model.onnx")
    head = read_class_head(tmp_path / "model.onnx")

    assert head is not None
    assert head.weights.dtype == head.bias.dtype == np.float32
    [features] = run(model, "features")
    maps = np.einsum("kc,nchw->nkhw", head.weights, features)
    np.testing.assert_allclose(maps.mean((2, 3)) + head.bias, expected.reshape(2, CLASSES), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("body", OTHERS.values(), ids=OTHERS)
def test_a_graph_with_another_head_has_no_features(body: str, tmp_path: Path) -> None:
    model = make_model(body)
    before = model.SerializeToString()

    assert find_class_head(model) is None
    assert not add_features(model)
    assert model.SerializeToString() == before
    onnx.save(model, tmp_path / "model.onnx")
    assert read_class_head(tmp_path / "model.onnx") is None


def test_the_features_of_an_f16_graph_are_f32(tmp_path: Path) -> None:
    model = make_model(f"{POOL} {LINEAR} {SOFTMAX}", half=True)

    assert add_features(model)
    onnx.save(model, tmp_path / "model.onnx")
    head = read_class_head(tmp_path / "model.onnx")

    assert head is not None
    onnx.checker.check_model(model, full_check=True)
    assert model.graph.output[1].type.tensor_type.elem_type == TensorProto.FLOAT
    features, logits = run(model, "features", "logits")
    np.testing.assert_allclose(features.mean((2, 3)) @ head.weights.T + head.bias, logits, rtol=1e-2, atol=1e-2)


def test_a_fixed_batch_in_the_head_is_no_hindrance() -> None:
    body = f"p = GlobalAveragePool (map) shape = Constant <value_ints = [1, {CHANNELS}]> () pooled = Reshape (p, shape)"
    assert find_class_head(make_model(f"{body} {LINEAR} {SOFTMAX}", batch="1")) is not None


@pytest.mark.parametrize("name", ["Gemm over ReduceMean", "channels last"])
def test_features_are_added_once_whatever_tensors_are_called(name: str) -> None:
    model = make_model(KNOWN[name].replace("pooled", "features"))
    add_features(model)
    once = model.SerializeToString()

    assert add_features(model)
    assert model.SerializeToString() == once
    assert [value.name for value in model.graph.output] == ["probabilities", "features"]


def test_an_output_of_that_name_that_is_something_else_is_replaced() -> None:
    model = make_model(KNOWN["Gemm over ReduceMean"].replace("pooled", "features"))
    wrong = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", CHANNELS])
    model.graph.output.insert(0, wrong)

    assert add_features(model)
    assert [value.name for value in model.graph.output] == ["probabilities", "features"]
    [features] = run(model, "features")
    assert features.shape == (2, CHANNELS, SIDE, SIDE)


def test_a_stored_graph_without_the_output_has_no_head_to_read(tmp_path: Path) -> None:
    onnx.save(make_model(KNOWN["Gemm over ReduceMean"]), tmp_path / "model.onnx")

    assert read_class_head(tmp_path / "model.onnx") is None
