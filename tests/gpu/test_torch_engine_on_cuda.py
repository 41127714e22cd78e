"""The torch engine where it belongs: on a CUDA GPU."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bento_service.domain.models import MAX_PROBABILITY_DIFFERENCE
from bento_service.errors import InferenceFailedError
from tests.gpu.conftest import OpenEngine

pytestmark = pytest.mark.gpu

TOLERANCES = {"f32": 1e-4, "fp16": MAX_PROBABILITY_DIFFERENCE, "bf16": 0.2}


def test_the_device_is_the_card_with_its_memory(open_engine: OpenEngine) -> None:
    engine = open_engine(max_batch=1)

    assert engine.device.kind == "cuda"
    assert engine.device.memory_bytes > 2**30


@pytest.mark.parametrize("precision", list(TOLERANCES))
def test_recorded_batches_answer_as_the_cpu_does(
    open_engine: OpenEngine, images: NDArray[np.uint8], reference: NDArray[np.float32], precision: str
) -> None:
    if precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        pytest.skip("this GPU does not compute in bf16")
    engine = open_engine(precision)

    assert engine.precision == precision
    assert engine.bucket_sizes == (1, 2, 4, 8, 16, 32)
    np.testing.assert_allclose(engine.infer(images[:32]), reference[:32], atol=TOLERANCES[precision])


def test_features_come_with_scores_that_are_those_of_recorded_batches(
    open_engine: OpenEngine, images: NDArray[np.uint8]
) -> None:
    engine = open_engine("f32")

    scores, features = engine.infer_with_features(images[:3])

    assert engine.has_features
    np.testing.assert_allclose(scores, engine.infer(images[:3]), atol=1e-5)
    assert features.dtype == np.float32
    assert (features.shape[0], features.ndim) == (3, 4)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 9, 17, 31, 32])
def test_a_padded_batch_answers_as_its_images_do_one_by_one(
    open_engine: OpenEngine, images: NDArray[np.uint8], size: int
) -> None:
    engine = open_engine("f32")
    engine.infer(images[:32])  # leaves other images behind the batch

    singles = np.concatenate([engine.infer(images[index : index + 1]) for index in range(size)])

    np.testing.assert_allclose(engine.infer(images[:size]), singles, atol=1e-4)


def test_the_arithmetic_that_is_chosen_passes_the_gate(open_engine: OpenEngine) -> None:
    engine = open_engine("auto", max_batch=1)

    assert engine.parity is not None
    assert engine.parity.passes_gate


def test_threads_that_call_at_once_get_the_answers_to_their_own_images(
    open_engine: OpenEngine, images: NDArray[np.uint8], reference: NDArray[np.float32]
) -> None:
    engine = open_engine("f32", lanes=2)
    random = np.random.default_rng(3)
    batches = [random.integers(0, len(images), random.integers(1, 33)) for _ in range(64)]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda chosen: engine.infer(images[chosen]), batches))

    for chosen, answer in zip(batches, answers, strict=True):
        np.testing.assert_allclose(answer, reference[chosen], atol=1e-4)


def test_engines_run_beside_each_other(
    open_engine: OpenEngine, images: NDArray[np.uint8], reference: NDArray[np.float32]
) -> None:
    engines = [open_engine("f32", max_batch=8) for _ in range(2)]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda number: engines[number % 2].infer(images[:8]), range(32)))

    for answer in answers:
        np.testing.assert_allclose(answer, reference[:8], atol=1e-4)


def test_a_compiled_model_answers_as_the_cpu_does(
    open_engine: OpenEngine, images: NDArray[np.uint8], reference: NDArray[np.float32]
) -> None:
    engine = open_engine("f32", max_batch=2, compile_model=True)

    np.testing.assert_allclose(engine.infer(images[:2]), reference[:2], atol=1e-4)


def test_a_closed_engine_gives_its_memory_back_and_refuses(open_engine: OpenEngine, images: NDArray[np.uint8]) -> None:
    open_engine(max_batch=1).close()  # what the libraries keep for themselves is there from here on
    before_bytes = torch.cuda.memory_allocated()
    engine = open_engine()

    engine.close()

    assert torch.cuda.memory_allocated() <= before_bytes
    with pytest.raises(InferenceFailedError, match="closed"):
        engine.infer(images[:1])
