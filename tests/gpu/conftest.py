"""Fixtures of the tests on a CUDA GPU, which are skipped where there is none."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bento_service.domain.models import StoredModel
from bento_service.engines.torch.cuda_model import Precision
from bento_service.engines.torch.engine import TorchEngine
from bento_service.models.store import BentoModelStore

OpenEngine = Callable[..., TorchEngine]


@pytest.fixture(autouse=True, scope="session")
def _needs_a_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU")


@pytest.fixture(scope="session")
def model(_needs_a_gpu: None, bentoml_home: Path) -> StoredModel:
    return BentoModelStore().load("efficientnet_lite0")


@pytest.fixture(scope="session")
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(7).integers(0, 256, (33, 224, 224, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def reference(model: StoredModel, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Probabilities from the CPU."""
    return TorchEngine(model.require_program(), model.card, device="cpu", threads=4).infer(images)


@pytest.fixture
def open_engine(model: StoredModel) -> Iterator[OpenEngine]:
    """Opens engines, and closes them after the test."""
    opened = []

    def open_engine(
        precision: Precision | str = "auto", *, max_batch: int = 32, lanes: int = 2, compile_model: bool = False
    ) -> TorchEngine:
        engine = TorchEngine(
            model.require_program(),
            model.card,
            device="cuda",
            threads=1,
            precision=precision,  # type: ignore[arg-type]
            max_batch=max_batch,
            lanes=lanes,
            compile_model=compile_model,
        )
        opened.append(engine)
        return engine

    yield open_engine
    for engine in opened:
        engine.close()
