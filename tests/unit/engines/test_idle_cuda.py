"""What a container made for a GPU says where it has none."""

from pathlib import Path
from typing import Literal

import pytest

from bento_service.engines.factory import DeviceKind, EngineKind
from bento_service.engines.idle_cuda import has_cuda_build, warn_gpu_unused


def explain(
    kind: Literal["auto"] | EngineKind = "auto",
    device: Literal["auto"] | DeviceKind = "auto",
    chosen: tuple[EngineKind, DeviceKind] = ("openvino", "cpu"),
    *,
    is_built: bool = True,
    has_node: bool = False,
) -> str | None:
    return warn_gpu_unused(kind, device, chosen, has_cuda_build=lambda: is_built, has_gpu_node=lambda: has_node)


def test_a_container_without_a_gpu_says_what_runs_instead_and_how_to_give_it_one() -> None:
    reason = explain()

    assert reason is not None
    assert "serves on the CPU, with the engine `openvino`: the container was given no GPU." in reason
    assert "`docker run --gpus all`" in reason
    assert "LIGHTBOX_DEVICE=cpu" in reason
    assert "\n" not in reason


def test_a_gpu_whose_driver_is_of_no_use_is_told_from_none() -> None:
    reason = explain(has_node=True)

    assert reason is not None
    assert "PyTorch cannot use the driver" in reason
    assert "given no GPU" not in reason


@pytest.mark.parametrize(
    ("kind", "device", "chosen", "is_built"),
    [
        pytest.param("auto", "auto", ("torch", "cuda"), True, id="the GPU is used"),
        pytest.param("auto", "cpu", ("openvino", "cpu"), True, id="the CPU was asked for"),
        pytest.param("openvino", "auto", ("openvino", "cpu"), True, id="its engine was asked for"),
        pytest.param("auto", "auto", ("openvino", "cpu"), False, id="it was not made for a GPU"),
    ],
)
def test_where_all_is_as_it_was_meant_nothing_is_said(
    kind: Literal["auto"] | EngineKind,
    device: Literal["auto"] | DeviceKind,
    chosen: tuple[EngineKind, DeviceKind],
    is_built: bool,
) -> None:
    assert explain(kind, device, chosen, is_built=is_built) is None


@pytest.mark.parametrize(
    ("version", "is_built"),
    [
        ("cuda: Optional[str] = '13.2'\nhip: Optional[str] = None\n", True),
        ('cuda = "12.1"\n', True),
        ("cuda: Optional[str] = None\nhip: Optional[str] = '6.2'\n", False),
        ("__all__ = ['cuda', 'hip']\ncuda = None\n", False),
        ("", False),
    ],
)
def test_what_torch_was_built_for_is_read_from_its_version_file(tmp_path: Path, version: str, is_built: bool) -> None:
    (tmp_path / "version.py").write_text(version)

    assert has_cuda_build(tmp_path) is is_built


def test_a_torch_without_a_version_file_counts_as_built_for_the_cpu(tmp_path: Path) -> None:
    assert not has_cuda_build(tmp_path)


def test_the_torch_that_is_installed_says_of_itself_what_was_read() -> None:
    was_read = has_cuda_build()
    import torch  # noqa: PLC0415 - after the reading, which takes none

    assert was_read is (torch.version.cuda is not None)
