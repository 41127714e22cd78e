"""A real GPU with too little memory."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bento_service.domain.models import StoredModel
from bento_service.engines.torch.cuda_lanes import LaneModel
from bento_service.engines.torch.cuda_streams import CudaRuntime
from bento_service.engines.torch.engine import CudaProgram
from bento_service.errors import ModelLoadError, OutOfMemoryError
from tests.gpu.conftest import OpenEngine

pytestmark = pytest.mark.gpu

MIB = 2**20


@contextmanager
def memory_left(left_bytes: int) -> Iterator[None]:
    """Limit this process to so many bytes of GPU memory beyond what it holds."""
    torch.cuda.empty_cache()
    total_bytes = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + left_bytes) / total_bytes)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_with_little_memory_smaller_batches_run_and_larger_ones_are_out_of_memory(
    open_engine: OpenEngine, images: NDArray[np.uint8], reference: NDArray[np.float32]
) -> None:
    # A batch of 128 has activations of 400 MB in fp16, and there are two lanes.
    with memory_left(512 * MIB):
        engine = open_engine("auto", max_batch=128)
        largest = engine.bucket_sizes[-1]

        assert 1 <= largest < 128
        with pytest.raises(OutOfMemoryError, match="Send smaller batches"):
            engine.infer(np.repeat(images[:1], 128, axis=0))
        np.testing.assert_allclose(engine.infer(images[:1]), reference[:1], atol=0.02)


def test_a_card_without_room_for_one_image_is_reported_with_the_models_name(open_engine: OpenEngine) -> None:
    with memory_left(8 * MIB), pytest.raises(ModelLoadError, match="'efficientnet_lite0'"):
        open_engine(max_batch=1)


def test_a_model_that_cannot_be_recorded_runs_and_recovers_from_out_of_memory(
    model: StoredModel, images: NDArray[np.uint8], caplog: pytest.LogCaptureFixture
) -> None:
    def forward(batch: torch.Tensor) -> torch.Tensor:
        # Reading a number back cannot be recorded.
        mean = batch.to(torch.float32).mean().item()
        room = torch.empty(len(batch) * 64 * MIB, dtype=torch.uint8, device="cuda")
        return torch.full((len(batch), 2), mean, device=room.device)

    with caplog.at_level(logging.WARNING):
        program = CudaProgram(LaneModel(forward, model.card.recipe, 2), max_batch=8, lanes=1, runtime=CudaRuntime())
    assert program.bucket_sizes == ()
    assert "cannot be recorded" in caplog.text

    with memory_left(256 * MIB):
        with pytest.raises(torch.OutOfMemoryError):
            program.infer(images[:8])
        np.testing.assert_allclose(program.infer(images[:2]), images[:2].mean(), rtol=1e-3)
    program.close()
