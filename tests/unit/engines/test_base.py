import pytest

from bento_service.engines.base import explain_failure
from bento_service.errors import InferenceFailedError, OutOfMemoryError


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("std::bad_alloc"),
        RuntimeError("Exception from src/inference/src/cpp/infer_request.cpp:66: std::bad_alloc"),
        Exception("BFCArena: Failed to allocate memory for requested buffer of size 9633792"),
        Exception("CUDA failure 2: out of memory ; GPU=0"),
        Exception("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0"),
    ],
    ids=str,
)
def test_too_little_memory_is_known_whichever_library_says_so(error: Exception) -> None:
    explained = explain_failure(error, library="Any library", images=8)
    assert isinstance(explained, OutOfMemoryError)
    assert "a batch of 8 images" in explained.message


def test_any_other_failure_names_the_library_and_what_it_said() -> None:
    explained = explain_failure(RuntimeError("no such kernel"), library="OpenVINO", images=2)
    assert isinstance(explained, InferenceFailedError)
    assert explained.message == "OpenVINO failed on a batch of 2 images: no such kernel"
