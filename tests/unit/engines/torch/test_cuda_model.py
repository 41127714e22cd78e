"""Making a model ready for a GPU, on the CPU."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from bento_service.engines.torch.cuda_lanes import LaneModel
from bento_service.engines.torch.cuda_model import Compiler, CudaModel, Forward, Precision, compile_for, ready_model
from bento_service.engines.torch.engine import CudaProgram, TorchEngine
from bento_service.engines.torch.program import load_program
from tests.fakes.cuda import FakeRuntime
from tests.unit.engines.torch.small_programs import CARD, CLASSES, RECIPE


@pytest.fixture(scope="module")
def reference(path: Path, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return TorchEngine(path, CARD, device="cpu", threads=1).infer(images)


def ready(path: Path, *candidates: Precision, compiler: Compiler | None = None) -> CudaModel:
    return ready_model(
        load_program(path, "small", "cpu"), RECIPE, candidates=candidates, compiler=compiler, device="cpu"
    )


def classify(model: CudaModel, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    lane_model = LaneModel(model.forward, RECIPE, CLASSES)
    return CudaProgram(lane_model, max_batch=8, lanes=1, runtime=FakeRuntime()).infer(images)


@pytest.mark.parametrize(("precision", "tolerance"), [("f32", 1e-5), ("fp16", 0.01), ("bf16", 0.05)])
def test_a_model_on_its_lanes_answers_as_the_reference_does(
    path: Path, images: NDArray[np.uint8], reference: NDArray[np.float32], precision: Precision, tolerance: float
) -> None:
    model = ready(path, precision)
    assert model.precision == precision
    assert precision != "f32" or model.parity.max_probability_difference < 1e-5
    np.testing.assert_allclose(classify(model, images), reference, atol=tolerance)


def test_a_compiled_model_answers_as_the_reference_does(
    path: Path, images: NDArray[np.uint8], reference: NDArray[np.float32]
) -> None:
    model = ready(path, "f32", compiler=compile_for(1))
    with torch.inference_mode():
        answers = model.forward(torch.from_numpy(images[:2])).numpy()

    np.testing.assert_allclose(answers, reference[:2], atol=1e-5)


def test_a_model_that_cannot_be_compiled_runs_as_it_is(
    path: Path, images: NDArray[np.uint8], reference: NDArray[np.float32], caplog: pytest.LogCaptureFixture
) -> None:
    def compile_without_compiler(module: nn.Module) -> Forward:
        def fail(batch: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("Failed to find C compiler")

        return fail

    with caplog.at_level(logging.WARNING):
        model = ready(path, "f32", compiler=compile_without_compiler)

    np.testing.assert_allclose(classify(model, images), reference, atol=1e-5)
    assert "Failed to find C compiler" in caplog.text


def test_a_compiled_model_that_answers_otherwise_is_not_used(
    path: Path, images: NDArray[np.uint8], reference: NDArray[np.float32]
) -> None:
    model = ready(path, "f32", compiler=lambda module: lambda batch: module(batch).roll(1, dims=1))
    np.testing.assert_allclose(classify(model, images), reference, atol=1e-5)
