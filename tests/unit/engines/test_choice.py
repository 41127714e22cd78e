from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from bento_service.domain.models import InputRecipe, ModelCard, StoredModel
from bento_service.engines.choice import (
    Choice,
    DeviceKind,
    EngineKind,
    Environment,
    check_engine,
    choose_engine,
    has_cuda_build,
    wants_programs,
    warn_gpu_unused,
)
from bento_service.errors import EngineUnavailableError, ModelLoadError

Kind = Literal["auto"] | EngineKind
Wish = Literal["auto"] | DeviceKind
Machine = Literal["no GPU", "PyTorch", "ONNX Runtime", "both", "neither"]

CARD = ModelCard("tiny", "1", ("a",), InputRecipe(8, 6, 0.875, "bicubic", (0, 0, 0), (1, 1, 1)), "a test", "MIT")
EXPORTED = StoredModel(CARD, Path("model.onnx"), Path("model.pt2"), parities={})
BUNDLED = replace(EXPORTED, program_path=None)


def make_environment(
    gpu_of: Machine = "no GPU", installed: tuple[str, ...] = ("openvino", "onnxruntime", "torch")
) -> Environment:
    """Make a machine without a GPU, or with one that the named libraries can use."""
    return Environment(
        has_cuda=lambda: gpu_of in ("PyTorch", "both") and "torch" in installed,
        has_cuda_provider=lambda: gpu_of in ("ONNX Runtime", "both"),
        has_gpu=lambda: gpu_of != "no GPU",
        has_gpu_node=lambda: gpu_of != "no GPU",
        is_built_for_cuda=lambda: "torch" in installed,
        is_installed=lambda name: name in installed,
    )


@pytest.mark.parametrize(
    ("model", "gpu_of", "engine", "device", "reason"),
    [
        pytest.param(EXPORTED, "PyTorch", "torch", "cuda", "", id="PyTorch"),
        pytest.param(EXPORTED, "both", "torch", "cuda", "", id="PyTorch before ONNX Runtime"),
        pytest.param(BUNDLED, "both", "onnxruntime", "cuda", "prepare --torch-program tiny", id="no program"),
        pytest.param(BUNDLED, "PyTorch", "openvino", "cpu", "prepare --torch-program tiny", id="and no provider"),
        pytest.param(EXPORTED, "ONNX Runtime", "onnxruntime", "cuda", "look at `nvidia-smi`", id="an old driver"),
        pytest.param(EXPORTED, "neither", "openvino", "cpu", "look at `nvidia-smi`", id="and no provider for it"),
        pytest.param(EXPORTED, "no GPU", "openvino", "cpu", "", id="no GPU"),
        pytest.param(BUNDLED, "no GPU", "openvino", "cpu", "", id="neither GPU nor program"),
    ],
)
def test_each_model_gets_the_best_engine_and_a_gpu_without_pytorch_is_explained(
    *, model: StoredModel, gpu_of: Machine, engine: str, device: str, reason: str
) -> None:
    choice = choose_engine("auto", "auto", model, make_environment(gpu_of))

    assert (choice.engine, choice.device) == (engine, device)
    assert reason in choice.reason
    assert bool(choice.reason) is bool(reason)


@pytest.mark.parametrize("model", [EXPORTED, BUNDLED])
def test_onnxruntime_serves_on_a_gpu_where_pytorch_is_not_installed(model: StoredModel) -> None:
    choice = choose_engine("auto", "auto", model, make_environment("both", ("openvino", "onnxruntime")))

    assert (choice.engine, choice.device) == ("onnxruntime", "cuda")
    assert "needs the extra `torch`" in choice.reason


@pytest.mark.parametrize("model", [EXPORTED, BUNDLED])
def test_a_pytorch_without_cuda_is_named_as_the_reason(model: StoredModel) -> None:
    environment = replace(make_environment("neither"), is_built_for_cuda=lambda: False)

    assert "was built without CUDA" in choose_engine("auto", "auto", model, environment).reason


@pytest.mark.parametrize(
    ("kind", "device", "gpu_of", "chosen"),
    [
        ("auto", "cpu", "both", ("openvino", "cpu")),
        ("torch", "auto", "PyTorch", ("torch", "cuda")),
        ("torch", "auto", "no GPU", ("torch", "cpu")),
        ("torch", "cpu", "PyTorch", ("torch", "cpu")),
        ("openvino", "auto", "both", ("openvino", "cpu")),
        ("onnxruntime", "auto", "no GPU", ("onnxruntime", "cpu")),
        ("onnxruntime", "auto", "PyTorch", ("onnxruntime", "cpu")),
        ("onnxruntime", "auto", "both", ("onnxruntime", "cuda")),
        ("onnxruntime", "cpu", "both", ("onnxruntime", "cpu")),
    ],
)
def test_an_engine_or_a_device_of_the_settings_holds_for_every_model(
    kind: Kind, device: Wish, gpu_of: Machine, chosen: tuple[EngineKind, DeviceKind]
) -> None:
    environment = make_environment(gpu_of)

    assert choose_engine(kind, device, EXPORTED, environment) == Choice(*chosen)
    if kind == "torch":
        with pytest.raises(ModelLoadError, match=r"'tiny' has no torch program.*prepare --torch-program tiny"):
            choose_engine(kind, device, BUNDLED, environment)
    else:
        assert choose_engine(kind, device, BUNDLED, environment) == Choice(*chosen)


def test_cuda_for_a_model_that_no_engine_runs_there_is_refused_with_two_ways_out() -> None:
    with pytest.raises(EngineUnavailableError, match=r"'tiny'.*prepare --torch-program tiny.*`onnxruntime-gpu`"):
        choose_engine("auto", "cuda", BUNDLED, make_environment("PyTorch"))
    check_engine("auto", "cuda", make_environment("PyTorch"))


@pytest.mark.parametrize(
    ("kind", "gpu_of", "message"),
    [
        ("auto", "no GPU", "no CUDA GPU"),
        ("auto", "neither", "no CUDA GPU here that an installed engine can use"),
        ("onnxruntime", "no GPU", "no CUDA GPU"),
        ("torch", "no GPU", "no CUDA GPU"),
        ("torch", "ONNX Runtime", "no CUDA GPU"),
        ("onnxruntime", "PyTorch", "Install `onnxruntime-gpu`"),
        ("openvino", "PyTorch", "Set the engine to `torch`"),
    ],
)
def test_cuda_that_the_engine_cannot_use_is_refused_before_any_model_is_known(
    kind: Kind, gpu_of: Machine, message: str
) -> None:
    with pytest.raises(EngineUnavailableError, match=message):
        check_engine(kind, "cuda", make_environment(gpu_of))


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
        choose_engine(kind, "cpu", EXPORTED, make_environment(installed=()))


def fail() -> bool:
    raise AssertionError("asked PyTorch for a GPU")


def test_pytorch_is_not_loaded_to_look_for_a_gpu_that_it_would_not_use() -> None:
    environment = replace(make_environment("both"), has_cuda=fail)

    assert choose_engine("openvino", "auto", EXPORTED, environment).engine == "openvino"
    assert choose_engine("auto", "cpu", EXPORTED, environment).engine == "openvino"
    assert choose_engine("auto", "auto", BUNDLED, environment).engine == "onnxruntime"
    check_engine("auto", "auto", environment)


@pytest.mark.parametrize(
    ("kind", "device", "gpu_of", "installed", "is_wanted"),
    [
        ("auto", "auto", "both", ("openvino", "torch", "timm"), True),
        ("auto", "auto", "both", ("openvino", "torch"), False),
        ("auto", "auto", "no GPU", ("openvino", "torch", "timm"), False),
        ("auto", "auto", "both", ("openvino",), False),
        ("auto", "cpu", "both", ("openvino", "torch", "timm"), False),
        ("torch", "cpu", "no GPU", ("openvino", "torch"), True),
        ("onnxruntime", "auto", "both", ("openvino", "torch"), False),
    ],
)
def test_programs_are_wanted_where_pytorch_would_run_them(
    *, kind: Kind, device: Wish, gpu_of: Machine, installed: tuple[str, ...], is_wanted: bool
) -> None:
    environment = replace(make_environment(gpu_of, installed), has_cuda=fail)

    assert wants_programs(kind, device, environment) is is_wanted


@pytest.mark.parametrize(
    ("kind", "device", "is_built", "has_node", "has_gpu", "parts"),
    [
        pytest.param("auto", "auto", True, False, False, ("given no GPU", "`docker run --gpus all`"), id="no GPU"),
        pytest.param("auto", "auto", True, True, False, ("does not answer", "`nvidia-smi`"), id="a broken driver"),
        pytest.param("auto", "auto", True, True, True, (), id="there is a GPU"),
        pytest.param("auto", "cpu", True, False, False, (), id="the CPU was asked for"),
        pytest.param("openvino", "auto", True, False, False, (), id="its engine was asked for"),
        pytest.param("auto", "auto", False, False, False, (), id="it was not made for a GPU"),
    ],
)
def test_a_gpu_container_without_a_gpu_logs_the_reason_and_the_remedy(
    *,
    kind: Kind,
    device: Wish,
    is_built: bool,
    has_node: bool,
    has_gpu: bool,
    parts: tuple[str, ...],
    caplog: pytest.LogCaptureFixture,
) -> None:
    environment = Environment(
        is_built_for_cuda=lambda: is_built, has_gpu_node=lambda: has_node, has_gpu=lambda: has_gpu
    )
    warn_gpu_unused(kind, device, environment)
    always = ("serves on the CPU", "LIGHTBOX_DEVICE=cpu") if parts else ()
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
