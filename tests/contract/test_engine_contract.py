"""One suite over every engine that runs on a CPU."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from bento_service.domain.models import StoredModel
from bento_service.domain.runner import EngineMode
from bento_service.engines.base import Engine
from bento_service.engines.choice import EngineKind, create_engine
from bento_service.errors import InferenceFailedError
from bento_service.models.class_head import read_class_head
from bento_service.models.store import BentoModelStore

LANES = 2
KINDS = ("openvino", "onnxruntime", "torch")
MODES = tuple(EngineMode)


@pytest.fixture(scope="module")
def model(bentoml_home: Path) -> StoredModel:
    return BentoModelStore().load("efficientnet_lite0")


@pytest.fixture(scope="module", params=KINDS)
def engine(request: pytest.FixtureRequest, model: StoredModel) -> Iterator[Engine]:
    kind: EngineKind = request.param
    engine = create_engine(kind, "cpu", model, lanes=LANES, threads=2)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def images(model: StoredModel) -> NDArray[np.uint8]:
    recipe = model.card.recipe
    return np.random.default_rng(7).integers(0, 256, (5, recipe.height_px, recipe.width_px, 3), dtype=np.uint8)


def test_an_engine_describes_itself(engine: Engine) -> None:
    assert engine.name in KINDS
    assert re.fullmatch(rf"{engine.name} \d+\.\d+.*", engine.library)
    assert engine.precision == "f32"
    assert engine.device.kind == "cpu"
    assert engine.device.memory_bytes > 0
    assert engine.device.cores >= 1


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_batch_gives_one_distribution_for_each_image(
    engine: Engine, images: NDArray[np.uint8], model: StoredModel, size: int
) -> None:
    probabilities = engine.infer(images[:size])

    assert probabilities.shape == (size, len(model.card.labels))
    assert probabilities.dtype == np.float32
    assert probabilities.min() >= 0
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [2, 3, 5])
def test_a_batch_gives_the_answers_of_its_single_images(
    engine: Engine, images: NDArray[np.uint8], size: int, mode: EngineMode
) -> None:
    singles = np.concatenate([engine.infer(images[index : index + 1]) for index in range(size)])

    np.testing.assert_allclose(engine.infer(images[:size], mode), singles, atol=1e-5)


def test_an_engine_has_a_mode_for_load_and_ascending_bucket_sizes(engine: Engine) -> None:
    assert EngineMode.THROUGHPUT in engine.modes
    assert list(engine.bucket_sizes) == sorted(engine.bucket_sizes)
    assert engine.bucket_sizes[:1] in {(), (1,)}


@pytest.mark.parametrize("kind", ["openvino", "onnxruntime"])
@pytest.mark.parametrize(("lanes", "threads"), [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_a_latency_mode_needs_several_lanes_and_threads(
    kind: EngineKind, lanes: int, threads: int, model: StoredModel, images: NDArray[np.uint8]
) -> None:
    engine = create_engine(kind, "cpu", model, lanes=lanes, threads=threads)

    assert (EngineMode.LATENCY in engine.modes) is (lanes == threads == 2)
    if EngineMode.LATENCY not in engine.modes:
        np.testing.assert_array_equal(engine.infer(images[:1], EngineMode.LATENCY), engine.infer(images[:1]))
    engine.close()


@pytest.mark.parametrize("mode", MODES)
def test_features_come_with_the_same_bits_of_scores(
    engine: Engine, images: NDArray[np.uint8], mode: EngineMode
) -> None:
    assert engine.has_features
    scores, features = engine.infer_with_features(images, mode)

    np.testing.assert_array_equal(scores, engine.infer(images, mode))
    assert features.shape == (len(images), 1280, 7, 7)
    assert features.dtype == np.float32
    singles = [engine.infer_with_features(images[row : row + 1])[1][0] for row in range(len(images))]
    np.testing.assert_allclose(features, np.stack(singles), atol=1e-4)


def test_the_mean_of_a_class_activation_map_and_the_bias_are_the_logit(
    engine: Engine, images: NDArray[np.uint8], model: StoredModel
) -> None:
    head = read_class_head(model.onnx_path)
    assert head is not None

    scores, features = engine.infer_with_features(images)
    maps = np.einsum("kc,nchw->nkhw", head.weights, features)
    logits = maps.mean((2, 3)) + head.bias

    np.testing.assert_allclose(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True), np.log(scores), atol=1e-4)


@pytest.mark.parametrize("kind", ["openvino", "onnxruntime"])
def test_a_graph_without_the_second_output_has_the_same_bits_and_no_features(
    kind: EngineKind, model: StoredModel, images: NDArray[np.uint8], tmp_path: Path
) -> None:
    graph = onnx.load(model.onnx_path)
    del graph.graph.output[1:]
    onnx.save(graph, tmp_path / "model.onnx")
    plain = create_engine(kind, "cpu", replace(model, onnx_path=tmp_path / "model.onnx"), lanes=LANES, threads=2)
    with_features = create_engine(kind, "cpu", model, lanes=LANES, threads=2)

    for mode in MODES:
        np.testing.assert_array_equal(plain.infer(images, mode), with_features.infer(images, mode))
    assert with_features.has_features
    assert not plain.has_features
    with pytest.raises(InferenceFailedError, match="no feature map"):
        plain.infer_with_features(images)

    plain.close()
    with_features.close()


def test_an_answer_does_not_change_in_later_runs(engine: Engine, images: NDArray[np.uint8]) -> None:
    first = engine.infer(images[:1])
    kept = first.copy()

    for index in range(1, 5):
        engine.infer(images[index : index + 1])

    np.testing.assert_array_equal(first, kept)


def test_concurrent_calls_get_their_own_answers(engine: Engine, images: NDArray[np.uint8]) -> None:
    random = np.random.default_rng(3)
    calls = [
        (random.integers(0, len(images), size), mode) for size in (1, 3, 5, 2, 1, 4) for mode in MODES for _ in range(2)
    ]
    expected = engine.infer(images)

    with ThreadPoolExecutor(LANES * 2) as pool:
        answers = list(pool.map(lambda call: engine.infer(images[call[0]], call[1]), calls))

    for (rows, _), answer in zip(calls, answers, strict=True):
        np.testing.assert_allclose(answer, expected[rows], atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_may_be_read_only_and_not_contiguous(
    engine: Engine, images: NDArray[np.uint8], mode: EngineMode
) -> None:
    mirrored = images[:2, :, ::-1]
    copied = mirrored.copy()
    mirrored.flags.writeable = False

    np.testing.assert_allclose(engine.infer(mirrored, mode), engine.infer(copied, mode), atol=1e-6)
    np.testing.assert_array_equal(copied, mirrored)


@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_engine_refuses_and_may_be_closed_again(
    kind: EngineKind, model: StoredModel, images: NDArray[np.uint8]
) -> None:
    engine = create_engine(kind, "cpu", model, lanes=1, threads=1)
    engine.close()
    engine.close()

    with pytest.raises(InferenceFailedError, match="closed"):
        engine.infer(images[:1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_during_close_is_answered_or_refused(
    kind: EngineKind, model: StoredModel, images: NDArray[np.uint8]
) -> None:
    engine = create_engine(kind, "cpu", model, lanes=LANES, threads=2)

    def call(number: int) -> int:
        if number == 8:
            engine.close()
        try:
            return bool(len(engine.infer(images[: 1 + number % 3], MODES[number % 2])))
        except InferenceFailedError as refusal:
            assert "closed" in refusal.message
            return 0

    with ThreadPoolExecutor(LANES * 2) as pool:
        answered = sum(pool.map(call, range(16)))

    assert answered < 16


@pytest.mark.parametrize("kind", ["onnxruntime", "torch"])
def test_the_engines_answer_as_openvino_does(kind: EngineKind, model: StoredModel, images: NDArray[np.uint8]) -> None:
    openvino = create_engine("openvino", "cpu", model, lanes=LANES, threads=2)
    other = create_engine(kind, "cpu", model, lanes=LANES, threads=2)

    np.testing.assert_allclose(other.infer(images), openvino.infer(images), atol=1e-4)

    openvino.close()
    other.close()
