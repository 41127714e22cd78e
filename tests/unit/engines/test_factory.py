from typing import Literal

import pytest

from bento_service.engines.factory import DeviceKind, EngineKind, check_engine, choose_engine
from bento_service.errors import EngineUnavailableError


def choose(
    kind: Literal["auto"] | EngineKind,
    device: Literal["auto"] | DeviceKind,
    *,
    has_cuda: bool = False,
    has_cuda_provider: bool = False,
    installed: tuple[str, ...] = ("openvino", "onnxruntime", "torch"),
) -> tuple[EngineKind, DeviceKind]:
    return choose_engine(
        kind,
        device,
        has_cuda=lambda: has_cuda,
        has_cuda_provider=lambda: has_cuda_provider,
        is_installed=lambda name: name in installed,
    )


def test_auto_takes_torch_on_a_cuda_gpu() -> None:
    assert choose("auto", "auto", has_cuda=True) == ("torch", "cuda")


def test_auto_takes_openvino_where_there_is_no_gpu() -> None:
    assert choose("auto", "auto") == ("openvino", "cpu")


def test_auto_keeps_to_the_cpu_when_the_device_says_so() -> None:
    assert choose("auto", "cpu", has_cuda=True) == ("openvino", "cpu")


def test_torch_takes_the_gpu_if_there_is_one() -> None:
    assert choose("torch", "auto", has_cuda=True) == ("torch", "cuda")
    assert choose("torch", "auto") == ("torch", "cpu")
    assert choose("torch", "cpu", has_cuda=True) == ("torch", "cpu")


def test_openvino_stays_on_the_cpu_of_a_machine_with_a_gpu() -> None:
    assert choose("openvino", "auto", has_cuda=True) == ("openvino", "cpu")


def test_onnxruntime_takes_the_gpu_if_there_is_one_and_it_was_built_for_it() -> None:
    assert choose("onnxruntime", "auto") == ("onnxruntime", "cpu")
    assert choose("onnxruntime", "auto", has_cuda=True) == ("onnxruntime", "cpu")
    assert choose("onnxruntime", "auto", has_cuda=True, has_cuda_provider=True) == ("onnxruntime", "cuda")
    assert choose("onnxruntime", "cpu", has_cuda=True, has_cuda_provider=True) == ("onnxruntime", "cpu")


def test_onnxruntime_that_was_built_without_cuda_is_refused_on_cuda() -> None:
    with pytest.raises(EngineUnavailableError, match="Install `onnxruntime-gpu`"):
        choose("onnxruntime", "cuda", has_cuda=True)


def test_openvino_on_cuda_is_refused() -> None:
    with pytest.raises(EngineUnavailableError, match="Set the engine to `torch`"):
        choose("openvino", "cuda", has_cuda=True)


@pytest.mark.parametrize("kind", ["auto", "onnxruntime", "torch"])
def test_cuda_without_a_gpu_is_refused_rather_than_served_on_the_cpu(kind: Literal["auto"] | EngineKind) -> None:
    with pytest.raises(EngineUnavailableError, match="no CUDA GPU"):
        choose(kind, "cuda")


@pytest.mark.parametrize(
    ("kind", "library"),
    [("openvino", "openvino"), ("torch", "torch"), ("onnxruntime", "onnxruntime"), ("auto", "openvino")],
)
def test_an_engine_whose_library_is_missing_is_refused_with_the_command_that_installs_it(
    kind: Literal["auto"] | EngineKind, library: str
) -> None:
    with pytest.raises(EngineUnavailableError, match=f"pip install {library}"):
        choose(kind, "cpu", installed=())


def test_a_gpu_is_not_looked_for_when_it_would_not_be_used() -> None:
    def fail() -> bool:
        raise AssertionError("asked for a GPU")

    assert choose_engine("openvino", "auto", has_cuda=fail) == ("openvino", "cpu")
    assert choose_engine("auto", "cpu", has_cuda=fail) == ("openvino", "cpu")


def test_a_wish_that_cannot_be_met_is_refused_before_any_engine_is_made() -> None:
    with pytest.raises(EngineUnavailableError, match="no CUDA GPU"):
        check_engine("auto", "cuda", has_cuda=lambda: False)


def test_where_nothing_was_wished_for_no_gpu_is_asked() -> None:
    check_engine("auto", "auto", has_cuda=lambda: pytest.fail("PyTorch would be loaded"))
