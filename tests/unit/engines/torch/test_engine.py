"""Concurrent use of a GPU's lanes."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bento_service.engines.torch.cuda_lanes import LaneModel
from bento_service.engines.torch.engine import CudaProgram, explain
from bento_service.errors import InferenceFailedError, OutOfMemoryError
from tests.fakes.cuda import FakeRuntime
from tests.unit.engines.torch.small_programs import CLASSES, RECIPE

PATIENCE_S = 10


def open_program(
    forward: Callable[[torch.Tensor], torch.Tensor], *, lanes: int = 2, runtime: FakeRuntime | None = None
) -> CudaProgram:
    return CudaProgram(LaneModel(forward, RECIPE, CLASSES), max_batch=8, lanes=lanes, runtime=runtime or FakeRuntime())


def test_as_many_batches_run_at_once_as_there_are_lanes(images: NDArray[np.uint8]) -> None:
    recorded = threading.Event()
    both = threading.Barrier(2, timeout=PATIENCE_S)

    def meet(batch: torch.Tensor) -> torch.Tensor:
        if recorded.is_set():
            both.wait()
        return torch.zeros(len(batch), CLASSES)

    program = open_program(meet, lanes=2)
    recorded.set()
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda index: program.infer(images[index : index + 1]), range(2)))

    assert [answer.shape for answer in answers] == [(1, CLASSES)] * 2


def test_a_batch_larger_than_the_memory_set_aside_is_out_of_memory_and_the_next_one_runs(
    images: NDArray[np.uint8],
) -> None:
    program = open_program(lambda batch: torch.zeros(len(batch), CLASSES), runtime=FakeRuntime(memory_images=4))
    with pytest.raises(OutOfMemoryError, match=r"8 images.*for 4"):
        program.infer(images)

    assert program.bucket_sizes == (1, 2, 4)
    assert program.infer(images[:4]).shape == (4, CLASSES)


def test_memory_that_ran_out_is_given_back_and_a_smaller_batch_passes(images: NDArray[np.uint8]) -> None:
    is_tight = threading.Event()

    def forward(batch: torch.Tensor) -> torch.Tensor:
        if is_tight.is_set() and len(batch) > 2:
            raise torch.OutOfMemoryError("no room")
        return torch.zeros(len(batch), CLASSES)

    runtime = FakeRuntime(unrecordable=RuntimeError("cannot be recorded"))
    program = open_program(forward, runtime=runtime)
    released = runtime.released
    is_tight.set()
    with pytest.raises(torch.OutOfMemoryError):
        program.infer(images)

    assert runtime.released == released + 1
    assert program.infer(images[:2]).shape == (2, CLASSES)


def test_a_closed_program_refuses_every_thread_and_gives_its_memory_back(images: NDArray[np.uint8]) -> None:
    runtime = FakeRuntime()
    program = open_program(lambda batch: torch.zeros(len(batch), CLASSES), runtime=runtime)
    program.close()
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(program.infer, images[:1]) for _ in range(4)]

    for call in calls:
        with pytest.raises(InferenceFailedError, match="closed"):
            call.result(PATIENCE_S)
    assert runtime.released == 1


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), OutOfMemoryError),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] can't allocate memory"), OutOfMemoryError),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), InferenceFailedError),
    ],
)
def test_errors_of_pytorch_are_translated_with_the_batch_size(error: RuntimeError, kind: type[Exception]) -> None:
    explained = explain(error, 16)
    assert type(explained) is kind
    assert "16 images" in str(explained)
