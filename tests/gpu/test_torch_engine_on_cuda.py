"""The torch engine where it belongs: on a CUDA GPU."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bento_service.engines.torch_engine import TorchEngine
from bento_service.errors import OutOfMemoryError
from bento_service.models.catalogue import Catalogue
from bento_service.models.parity import compare
from bento_service.models.store import StoredModel

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]


@pytest.fixture(scope="module")
def model(bentoml_home: Path) -> StoredModel:
    return Catalogue().load("efficientnet_lite0")


@pytest.fixture(scope="module")
def engine(model: StoredModel) -> Iterator[TorchEngine]:
    engine = TorchEngine(model.program_path, model.card, device="cuda", threads=1)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(7).integers(0, 256, (32, 224, 224, 3), dtype=np.uint8)


def test_the_device_is_the_card_with_its_memory(engine: TorchEngine) -> None:
    assert engine.device.kind == "cuda"
    assert engine.device.memory_bytes > 2**30


def test_the_gpu_answers_as_the_cpu_does(engine: TorchEngine, model: StoredModel, images: NDArray[np.uint8]) -> None:
    on_cpu = TorchEngine(model.program_path, model.card, device="cpu", threads=4).infer(images)

    parity = compare(on_cpu, engine.infer(images))

    assert parity.passes_gate, parity


def test_threads_that_call_at_once_get_the_answers_to_their_own_images(
    engine: TorchEngine, images: NDArray[np.uint8]
) -> None:
    expected = engine.infer(images)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda index: engine.infer(images[index : index + 1]), range(len(images))))

    np.testing.assert_allclose(np.concatenate(answers), expected, atol=1e-3)


def test_a_batch_too_large_for_the_card_says_so_and_a_smaller_one_still_passes(
    engine: TorchEngine, images: NDArray[np.uint8]
) -> None:
    used_share = (torch.cuda.memory_reserved() + 2**29) / engine.device.memory_bytes
    torch.cuda.set_per_process_memory_fraction(used_share)
    try:
        with pytest.raises(OutOfMemoryError):
            engine.infer(np.concatenate([images] * 32))
        assert engine.infer(images[:1]).shape[0] == 1
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
