from pathlib import Path
from typing import Literal

import pytest

from bento_service.engines.choice import (
    DeviceKind,
    EngineKind,
    Environment,
    check_engine,
    choose_engine,
    has_cuda_build,
    warn_gpu_unused,
)
from bento_service.errors import EngineUnavailableError

Kind = Literal["auto"] | EngineKind
Wish = Literal["auto"] | DeviceKind


def make_environment(has: str, installed: tuple[str, ...] = ("openvino", "onnxruntime", "torch")) -> Environment:
    """Make a machine that `has` no GPU (""), one for torch ("gpu"), or one for ONNX Runtime too ("gpu for both")."""
    return Environment(
        has_cuda=lambda: bool(has),
        has_cuda_provider=lambda: has == "gpu for both",
        is_installed=lambda name: name in installed,
    )


@pytest.mark.parametrize(
    ("kind", "device", "has", "chosen"),
    [
        ("auto", "auto", "gpu", ("torch", "cuda")),
        ("auto", "auto", "", ("openvino", "cpu")),
        ("auto", "cpu", "gpu", ("openvino", "cpu")),
        ("torch", "auto", "gpu", ("torch", "cuda")),
        ("torch", "auto", "", ("torch", "cpu")),
        ("torch", "cpu", "gpu", ("torch", "cpu")),
        ("openvino", "auto", "gpu", ("openvino", "cpu")),
        ("onnxruntime", "auto", "", ("onnxruntime", "cpu")),
        ("onnxruntime", "auto", "gpu", ("onnxruntime", "cpu")),
        ("onnxruntime", "auto", "gpu for both", ("onnxruntime", "cuda")),
        ("onnxruntime", "cpu", "gpu for both", ("onnxruntime", "cpu")),
    ],
)
def test_auto_takes_the_gpu_where_the_engine_can_use_it(
    kind: Kind, device: Wish, has: str, chosen: tuple[str, str]
) -> None:
    assert choose_engine(kind, device, make_environment(has)) == chosen


@pytest.mark.parametrize(
    ("kind", "has", "message"),
    [
        ("auto", "", "no CUDA GPU"),
        ("onnxruntime", "", "no CUDA GPU"),
        ("torch", "", "no CUDA GPU"),
        ("onnxruntime", "gpu", "Install `onnxruntime-gpu`"),
        ("openvino", "gpu", "Set the engine to `torch`"),
    ],
)
def test_cuda_that_the_engine_cannot_use_is_refused(kind: Kind, has: str, message: str) -> None:
    with pytest.raises(EngineUnavailableError, match=message):
        choose_engine(kind, "cuda", make_environment(has))
    with pytest.raises(EngineUnavailableError, match=message):
        check_engine(kind, "cuda", make_environment(has))


@pytest.mark.parametrize(
    ("kind", "needed"),
    [
        ("openvino", "package openvino"),
        ("torch", "extra `torch`"),
        ("onnxruntime", "extra `onnxruntime`"),
        ("auto", "package openvino"),
    ],
)
def test_an_engine_whose_library_is_missing_names_what_it_needs(kind: Kind, needed: str) -> None:
    with pytest.raises(EngineUnavailableError, match=f"needs the .*{needed}"):
        choose_engine(kind, "cpu", make_environment("", installed=()))


def test_torch_is_not_asked_for_a_gpu_that_would_not_be_used() -> None:
    def fail() -> bool:
        raise AssertionError("asked for a GPU")

    environment = Environment(has_cuda=fail)
    assert choose_engine("openvino", "auto", environment) == ("openvino", "cpu")
    assert choose_engine("auto", "cpu", environment) == ("openvino", "cpu")
    check_engine("auto", "auto", environment)


CPU = ("openvino", "cpu")


@pytest.mark.parametrize(
    ("kind", "device", "chosen", "is_built", "has_node", "parts"),
    [
        pytest.param("auto", "auto", CPU, True, False, ("given no GPU", "`docker run --gpus all`"), id="no GPU"),
        pytest.param("auto", "auto", CPU, True, True, ("cannot use the driver", "`nvidia-smi`"), id="an old driver"),
        pytest.param("auto", "auto", ("torch", "cuda"), True, True, (), id="the GPU is used"),
        pytest.param("auto", "cpu", CPU, True, False, (), id="the CPU was asked for"),
        pytest.param("openvino", "auto", CPU, True, False, (), id="its engine was asked for"),
        pytest.param("auto", "auto", CPU, False, False, (), id="it was not made for a GPU"),
    ],
)
def test_a_gpu_container_on_the_cpu_logs_the_reason_and_the_remedy(
    *,
    kind: Kind,
    device: Wish,
    chosen: tuple[EngineKind, DeviceKind],
    is_built: bool,
    has_node: bool,
    parts: tuple[str, ...],
    caplog: pytest.LogCaptureFixture,
) -> None:
    environment = Environment(is_built_for_cuda=lambda: is_built, has_gpu_node=lambda: has_node)
    warn_gpu_unused(kind, device, chosen, environment)
    always = ("serves on the CPU, with the engine `openvino`", "LIGHTBOX_DEVICE=cpu") if parts else ()
    assert len(caplog.messages) == bool(parts)
    assert all(part in caplog.text for part in (*parts, *always))


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
    torch = pytest.importorskip("torch", reason="needs the extra `torch`")

    assert was_read is (torch.version.cuda is not None)
