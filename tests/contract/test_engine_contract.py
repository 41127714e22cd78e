"""One suite over every engine that runs on a CPU."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bento_service.engines.base import Engine
from bento_service.engines.factory import EngineKind, create_engine
from bento_service.errors import InferenceFailedError
from bento_service.models.catalogue import Catalogue
from bento_service.models.store import StoredModel

LANES = 2


@pytest.fixture(scope="module")
def model(bentoml_home: Path) -> StoredModel:
    return Catalogue().load("efficientnet_lite0")


@pytest.fixture(scope="module", params=["openvino", "onnxruntime", "torch"])
def engine(request: pytest.FixtureRequest, model: StoredModel) -> Iterator[Engine]:
    kind: EngineKind = request.param
    engine = create_engine(kind, "cpu", model, lanes=LANES, threads=2)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def images(model: StoredModel) -> NDArray[np.uint8]:
    recipe = model.card.recipe
    return np.random.default_rng(7).integers(0, 256, (5, recipe.height_px, recipe.width_px, 3), dtype=np.uint8)


def test_an_engine_names_itself_its_precision_and_its_device(engine: Engine) -> None:
    assert engine.name in {"openvino", "onnxruntime", "torch"}
    assert engine.precision == "f32"
    assert engine.device.kind == "cpu"
    assert engine.device.memory_bytes > 0
    assert engine.device.cores >= 1


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_a_batch_of_any_size_gives_one_distribution_for_each_image(
    engine: Engine, images: NDArray[np.uint8], model: StoredModel, size: int
) -> None:
    probabilities = engine.infer(images[:size])

    assert probabilities.shape == (size, len(model.card.labels))
    assert probabilities.dtype == np.float32
    assert probabilities.min() >= 0
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_a_batch_answers_as_its_images_do_one_by_one(engine: Engine, images: NDArray[np.uint8], size: int) -> None:
    singles = np.concatenate([engine.infer(images[index : index + 1]) for index in range(size)])

    np.testing.assert_allclose(engine.infer(images[:size]), singles, atol=1e-5)


def test_an_answer_stays_as_it_is_when_the_engine_runs_again(engine: Engine, images: NDArray[np.uint8]) -> None:
    first = engine.infer(images[:1])
    kept = first.copy()

    for index in range(1, 5):
        engine.infer(images[index : index + 1])

    np.testing.assert_array_equal(first, kept)


def test_threads_that_call_at_once_get_the_answers_to_their_own_images(
    engine: Engine, images: NDArray[np.uint8]
) -> None:
    order = np.random.default_rng(3).integers(0, len(images), 24)
    expected = engine.infer(images)

    with ThreadPoolExecutor(LANES * 2) as pool:
        answers = list(pool.map(lambda index: engine.infer(images[index : index + 1]), order))

    np.testing.assert_allclose(np.concatenate(answers), expected[order], atol=1e-5)


def test_a_read_only_batch_is_accepted(engine: Engine, images: NDArray[np.uint8]) -> None:
    batch = images[:1].copy()
    batch.flags.writeable = False

    np.testing.assert_allclose(engine.infer(batch), engine.infer(images[:1]), atol=1e-6)


@pytest.mark.parametrize(
    "batch",
    [
        np.zeros((1, 3, 224, 224), dtype=np.uint8),
        np.zeros((1, 225, 224, 3), dtype=np.uint8),
        np.zeros((224, 224, 3), dtype=np.uint8),
        np.zeros((0, 224, 224, 3), dtype=np.uint8),
        np.zeros((1, 224, 224, 3), dtype=np.float32),
    ],
    ids=["channels first", "another size", "no batch axis", "no images", "floats"],
)
def test_a_batch_that_the_model_does_not_take_is_refused_with_both_shapes(
    engine: Engine, batch: NDArray[np.uint8]
) -> None:
    with pytest.raises(InferenceFailedError, match="224, 224, 3") as refusal:
        engine.infer(batch)

    assert str(batch.shape) in refusal.value.message


def test_an_engine_works_on_after_a_refusal(engine: Engine, images: NDArray[np.uint8]) -> None:
    with pytest.raises(InferenceFailedError):
        engine.infer(images[0])

    assert engine.infer(images[:1]).shape[0] == 1


@pytest.mark.parametrize("kind", ["openvino", "onnxruntime", "torch"])
def test_a_closed_engine_refuses_and_may_be_closed_again(
    kind: EngineKind, model: StoredModel, images: NDArray[np.uint8]
) -> None:
    engine = create_engine(kind, "cpu", model, lanes=1, threads=1)
    engine.close()
    engine.close()

    with pytest.raises(InferenceFailedError, match="closed"):
        engine.infer(images[:1])
