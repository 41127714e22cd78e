"""Choose the engine and the device of each model, and load a model into them."""

import importlib.util
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from bento_service.domain.models import StoredModel
from bento_service.engines import devices
from bento_service.engines.base import Engine
from bento_service.engines.onnxruntime_engine import ONNXRuntimeEngine
from bento_service.engines.openvino_engine import OpenVINOEngine
from bento_service.engines.torch.cuda_model import Precision
from bento_service.engines.torch.engine import TorchEngine
from bento_service.errors import EngineUnavailableError
from bento_service.extras import explain_missing

logger = logging.getLogger(__name__)

EngineKind = Literal["openvino", "onnxruntime", "torch"]
DeviceKind = Literal["cpu", "cuda"]

_CUDA_VERSION = re.compile(r"""^cuda\b[^=\n]*=\s*['"]""", re.MULTILINE)


def is_installed(library: str) -> bool:
    """Tell whether a Python package can be imported, without importing it."""
    return importlib.util.find_spec(library) is not None


def has_cuda_build(package: Path | None = None) -> bool:
    """Tell whether torch, installed or in the folder `package`, was built for CUDA, without importing it."""
    if package is None:
        spec = importlib.util.find_spec("torch")
        if spec is None or spec.origin is None:
            return False
        package = Path(spec.origin).parent
    try:
        return _CUDA_VERSION.search((package / "version.py").read_text()) is not None
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class Environment:
    """Checks of this machine. Each is called only where its result matters, since some import a large library."""

    has_cuda: Callable[[], bool] = devices.has_cuda
    has_cuda_provider: Callable[[], bool] = devices.has_cuda_provider
    has_gpu: Callable[[], bool] = devices.has_gpu
    has_gpu_node: Callable[[], bool] = devices.has_gpu_node
    is_built_for_cuda: Callable[[], bool] = has_cuda_build
    is_installed: Callable[[str], bool] = is_installed


_HERE = Environment()


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine and the device of one model.

    `reason` is one sentence or more, for a log: why PyTorch does not run the model on the GPU that is there, and what
    to do. It is empty where PyTorch does, where there is no GPU, and where the settings decide.
    """

    engine: EngineKind
    device: DeviceKind
    reason: str = ""


ChooseEngine: TypeAlias = Callable[[Literal["auto"] | EngineKind, Literal["auto"] | DeviceKind, StoredModel], Choice]
"""As `choose_engine`."""


def choose_engine(
    kind: Literal["auto"] | EngineKind,
    device: Literal["auto"] | DeviceKind,
    model: StoredModel,
    environment: Environment = _HERE,
) -> Choice:
    """Resolve `auto` of the settings for a model; engines and devices that the settings name hold for every model.

    On a GPU, PyTorch runs a model that has a torch program; ONNX Runtime, where it was built for CUDA, the others.
    Whatever is left runs on OpenVINO, on the CPU.

    Raises:
        EngineUnavailableError: This machine cannot run the model so.
        ModelLoadError: The settings name PyTorch, and the model has no torch program.
    """
    check_engine(kind, device, environment)
    if kind == "torch":
        model.require_program()
    if device != "cpu" and kind in ("auto", "torch") and model.program_path and environment.has_cuda():
        return Choice("torch", "cuda")
    has_unused_gpu = device != "cpu" and kind == "auto" and environment.has_gpu()
    reason = _explain_without_torch(model, environment) if has_unused_gpu else ""
    if device != "cpu" and kind in ("auto", "onnxruntime") and _has_onnxruntime_gpu(environment):
        return Choice("onnxruntime", "cuda", reason)
    if device == "cuda":
        raise EngineUnavailableError(
            f"The device is set to `cuda`, and nothing here runs {model.card.name!r} there. "
            f"{_explain_without_torch(model, environment)} Or install `onnxruntime-gpu` in place of `onnxruntime`, or "
            "set the device to `auto`."
        )
    chosen = "openvino" if kind == "auto" else kind
    _require_library(chosen, environment)
    return Choice(chosen, "cpu", reason)


def check_engine(
    kind: Literal["auto"] | EngineKind, device: Literal["auto"] | DeviceKind, environment: Environment = _HERE
) -> None:
    """Check the part of the settings that does not depend on the model.

    `auto` and `auto` always pass, without a look for a GPU.

    Raises:
        EngineUnavailableError: This machine has no such engine or device.
    """
    if kind != "auto":
        _require_library(kind, environment)
    if device != "cuda":
        return
    if kind == "openvino":
        raise EngineUnavailableError(
            "The engine `openvino` runs on CPUs, and the device is set to `cuda`. Set the engine to `torch`, "
            "`onnxruntime` or `auto`, or the device to `cpu` or `auto`."
        )
    if kind == "onnxruntime" and environment.has_gpu() and not environment.has_cuda_provider():
        raise EngineUnavailableError(
            "The device is set to `cuda`, and the ONNX Runtime that is installed was built without it. Install "
            "`onnxruntime-gpu` in place of `onnxruntime`, or set the engine to `torch` or the device to `cpu`."
        )
    has_torch_gpu = kind != "onnxruntime" and environment.has_cuda()
    has_other_gpu = kind != "torch" and _has_onnxruntime_gpu(environment)
    if not has_torch_gpu and not has_other_gpu:
        raise EngineUnavailableError(
            "The device is set to `cuda`, and there is no CUDA GPU here that an installed engine can use: PyTorch, or "
            "ONNX Runtime from `onnxruntime-gpu`. Set the device to `cpu` or `auto`, or start the container with its "
            "GPU (`docker run --gpus all`)."
        )


def wants_programs(
    kind: Literal["auto"] | EngineKind, device: Literal["auto"] | DeviceKind, environment: Environment = _HERE
) -> bool:
    """Tell whether these settings run models that have a torch program on PyTorch here, without importing it."""
    if kind == "auto" and device != "cpu":
        # timm writes them; without it the start goes on without them.
        return environment.is_built_for_cuda() and environment.is_installed("timm") and environment.has_gpu()
    return kind == "torch"


def warn_gpu_unused(
    kind: Literal["auto"] | EngineKind,
    device: Literal["auto"] | DeviceKind,
    environment: Environment = _HERE,
) -> None:
    """Log a warning where a container with CUDA finds no GPU that works, and the settings do not ask for the CPU."""
    if (kind, device) != ("auto", "auto") or not environment.is_built_for_cuda() or environment.has_gpu():
        return
    if environment.has_gpu_node():
        reason = "the driver of the GPU that the container has does not answer"
        advice = "Look at `nvidia-smi` in the container"
    else:
        reason = "the container was given no GPU"
        advice = "Start it with `docker run --gpus all` on a host with the NVIDIA Container Toolkit"
    logger.warning(
        "This container was made for a GPU and serves on the CPU: %s. %s, or set LIGHTBOX_DEVICE=cpu if the CPU is "
        "meant.",
        reason,
        advice,
    )


def _has_onnxruntime_gpu(environment: Environment) -> bool:
    return environment.has_gpu() and environment.has_cuda_provider()


def _require_library(kind: EngineKind, environment: Environment) -> None:
    if environment.is_installed(kind):
        return
    subject = f"The engine `{kind}`"
    if kind == "openvino":
        raise EngineUnavailableError(f"{subject} needs the Python package openvino, which is not installed.")
    raise EngineUnavailableError(f"{explain_missing(subject, kind)} Or set another engine.")


def _explain_without_torch(model: StoredModel, environment: Environment) -> str:
    if not environment.is_installed("torch"):
        return explain_missing("Running it on the GPU with PyTorch", "torch")
    if not environment.is_built_for_cuda():
        return "The PyTorch that is installed was built without CUDA: install one that was built with it."
    if model.program_path is None:
        return (
            "It has no torch program, which PyTorch runs on a GPU: "
            f"`lightbox models prepare --torch-program {model.card.name}` writes one."
        )
    return "PyTorch cannot use the GPU's driver, which has to be as new as the CUDA of PyTorch: look at `nvidia-smi`."


def create_engine(
    kind: EngineKind,
    device: DeviceKind,
    model: StoredModel,
    *,
    lanes: int,
    threads: int,
    workers: int = 1,
    precision: Literal["auto"] | Precision = "auto",
    compile_model: bool = False,
) -> Engine:
    """Load a prepared model into the engine that `choose_engine` returned for it.

    Args:
        kind: The engine.
        device: The device.
        model: The model.
        lanes: Threads that will call `infer` at once.
        threads: Compute threads, shared by the lanes.
        workers: Processes on this machine that run engines.
        precision: The arithmetic of PyTorch on a GPU.
        compile_model: Whether PyTorch compiles the model there.

    Raises:
        EngineUnavailableError: The device is not there.
        ModelLoadError: The engine cannot read the model's files, or the model lacks the one that it needs.
    """
    if kind == "onnxruntime":
        return ONNXRuntimeEngine(model.onnx_path, model.card, device=device, lanes=lanes, threads=threads)
    if kind == "torch":
        return TorchEngine(
            model.require_program(),
            model.card,
            device=device,
            threads=threads,
            lanes=lanes,
            precision=precision,
            compile_model=compile_model,
        )
    return OpenVINOEngine(model.onnx_path, model.card, lanes=lanes, threads=threads, workers=workers)
