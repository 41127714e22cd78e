from pathlib import Path
from typing import Literal

import pytest

from bento_service.engines.choice import (
    DeviceKind,
    EngineKind,
    check_engine,
    choose_engine,
    has_cuda_build,
    warn_gpu_unused,
)
from bento_service.errors import EngineUnavailableError

Kind = Literal["auto"] | EngineKind
Wish = Literal["auto"] | DeviceKind
GPU = ("has_cuda",)
GPU_FOR_BOTH = ("has_cuda", "has_cuda_provider")
ALL = ("openvino", "onnxruntime", "torch")


def choose(
    kind: Kind, device: Wish, has: tuple[str, ...] = (), *, installed: tuple[str, ...] = ALL
) -> tuple[EngineKind, DeviceKind]:
    return choose_engine(
        kind,
        device,
        has_cuda=lambda: "has_cuda" in has,
        has_cuda_provider=lambda: "has_cuda_provider" in has,
        is_installed=lambda name: name in installed,
    )


@pytest.mark.parametrize(
    ("kind", "device", "has", "chosen"),
    [
        ("auto", "auto", GPU, ("torch", "cuda")),
        ("auto", "auto", (), ("openvino", "cpu")),
        ("auto", "cpu", GPU, ("openvino", "cpu")),
        ("torch", "auto", GPU, ("torch", "cuda")),
        ("torch", "auto", (), ("torch", "cpu")),
        ("torch", "cpu", GPU, ("torch", "cpu")),
        ("openvino", "auto", GPU, ("openvino", "cpu")),
        ("onnxruntime", "auto", (), ("onnxruntime", "cpu")),
        ("onnxruntime", "auto", GPU, ("onnxruntime", "cpu")),
        ("onnxruntime", "auto", GPU_FOR_BOTH, ("onnxruntime", "cuda")),
        ("onnxruntime", "cpu", GPU_FOR_BOTH, ("onnxruntime", "cpu")),
    ],
)
def test_auto_takes_the_gpu_where_the_engine_can_use_it(
    kind: Kind, device: Wish, has: tuple[str, ...], chosen: tuple[str, str]
) -> None:
    assert choose(kind, device, has) == chosen


@pytest.mark.parametrize(
    ("kind", "has", "message"),
    [
        ("auto", (), "no CUDA GPU"),
        ("onnxruntime", (), "no CUDA GPU"),
        ("torch", (), "no CUDA GPU"),
        ("onnxruntime", GPU, "Install `onnxruntime-gpu`"),
        ("openvino", GPU, "Set the engine to `torch`"),
    ],
)
def test_cuda_that_the_engine_cannot_use_is_refused_rather_than_served_on_the_cpu(
    kind: Kind, has: tuple[str, ...], message: str
) -> None:
    with pytest.raises(EngineUnavailableError, match=message):
        choose(kind, "cuda", has)


@pytest.mark.parametrize(
    ("kind", "library"),
    [("openvino", "openvino"), ("torch", "torch"), ("onnxruntime", "onnxruntime"), ("auto", "openvino")],
)
def test_an_engine_whose_library_is_missing_is_refused_with_the_command_that_installs_it(
    kind: Kind, library: str
) -> None:
    with pytest.raises(EngineUnavailableError, match=f"pip install {library}"):
        choose(kind, "cpu", installed=())


def test_torch_is_not_asked_for_a_gpu_that_would_not_be_used() -> None:
    def fail() -> bool:
        raise AssertionError("asked for a GPU")

    assert choose_engine("openvino", "auto", has_cuda=fail) == ("openvino", "cpu")
    assert choose_engine("auto", "cpu", has_cuda=fail) == ("openvino", "cpu")
    check_engine("auto", "auto", has_cuda=fail)
    with pytest.raises(EngineUnavailableError, match="no CUDA GPU"):
        check_engine("auto", "cuda", has_cuda=lambda: False)


@pytest.mark.parametrize(
    ("has_node", "reason", "advice"),
    [
        (False, "the container was given no GPU", "`docker run --gpus all`"),
        (True, "PyTorch cannot use the driver", "`nvidia-smi`"),
    ],
)
def test_a_gpu_container_on_the_cpu_logs_the_reason_and_the_remedy(
    has_node: bool, reason: str, advice: str, caplog: pytest.LogCaptureFixture
) -> None:
    warn_gpu_unused("auto", "auto", ("openvino", "cpu"), has_cuda_build=lambda: True, has_gpu_node=lambda: has_node)
    (line,) = caplog.messages
    for part in ("serves on the CPU, with the engine `openvino`", reason, advice, "LIGHTBOX_DEVICE=cpu"):
        assert part in line


@pytest.mark.parametrize(
    ("kind", "device", "chosen", "is_built"),
    [
        pytest.param("auto", "auto", ("torch", "cuda"), True, id="the GPU is used"),
        pytest.param("auto", "cpu", ("openvino", "cpu"), True, id="the CPU was asked for"),
        pytest.param("openvino", "auto", ("openvino", "cpu"), True, id="its engine was asked for"),
        pytest.param("auto", "auto", ("openvino", "cpu"), False, id="it was not made for a GPU"),
    ],
)
def test_a_container_that_runs_as_intended_logs_no_warning(
    kind: Kind,
    device: Wish,
    chosen: tuple[EngineKind, DeviceKind],
    is_built: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    warn_gpu_unused(kind, device, chosen, has_cuda_build=lambda: is_built, has_gpu_node=lambda: False)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("version", "is_built"),
    [
        ("cuda: Optional[str] = '13.2'\nhip: Optional[str] = None\n", True),
        ('cuda = "12.1"\n', True),
        ("cuda: Optional[str] = None\nhip: Optional[str] = '6.2'\n", False),
        ("__all__ = ['cuda', 'hip']\ncuda = None\n", False),
    ],
)
def test_what_torch_was_built_for_is_read_from_its_version_file(tmp_path: Path, version: str, is_built: bool) -> None:
    assert not has_cuda_build(tmp_path)
    (tmp_path / "version.py").write_text(version)
    assert has_cuda_build(tmp_path) is is_built


def test_the_installed_torch_agrees_with_its_version_file() -> None:
    was_read = has_cuda_build()
    import torch  # noqa: PLC0415 - after the reading, which does not import it

    assert was_read is (torch.version.cuda is not None)
