"""Choose the engine and the device, and load a model into it."""

import importlib.util
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
    has_gpu_node: Callable[[], bool] = devices.has_gpu_node
    is_built_for_cuda: Callable[[], bool] = has_cuda_build
    is_installed: Callable[[str], bool] = is_installed


_HERE = Environment()


def choose_engine(
    kind: Literal["auto"] | EngineKind, device: Literal["auto"] | DeviceKind, environment: Environment = _HERE
) -> tuple[EngineKind, DeviceKind]:
    """Resolve `auto` of the settings: PyTorch where it can use a CUDA GPU, else OpenVINO.

    Raises:
        EngineUnavailableError: This machine cannot run the engine on the device.
    """
    if kind == "openvino" and device == "cuda":
        raise EngineUnavailableError(
            "The engine `openvino` runs on CPUs, and the device is set to `cuda`. Set the engine to `torch`, "
            "`onnxruntime` or `auto`, or the device to `cpu` or `auto`."
        )
    is_cuda = kind != "openvino" and device != "cpu" and environment.has_cuda()
    if device == "cuda" and not is_cuda:
        raise EngineUnavailableError(
            "The device is set to `cuda`, and PyTorch sees no CUDA GPU here or is not installed. Set the device to "
            "`cpu` or `auto`, or start the container with its GPU (`docker run --gpus all`)."
        )
    chosen: EngineKind = kind if kind != "auto" else "torch" if is_cuda else "openvino"
    if not environment.is_installed(chosen):
        subject = f"The engine `{chosen}`"
        if chosen == "openvino":
            raise EngineUnavailableError(f"{subject} needs the Python package openvino, which is not installed.")
        raise EngineUnavailableError(f"{explain_missing(subject, chosen)} Or set another engine.")
    if chosen == "onnxruntime" and is_cuda and not environment.has_cuda_provider():
        if device == "cuda":
            raise EngineUnavailableError(
                "The device is set to `cuda`, and the ONNX Runtime that is installed was built without it. Install "
                "`onnxruntime-gpu` in place of `onnxruntime`, or set the engine to `torch` or the device to `cpu`."
            )
        is_cuda = False
    return chosen, "cuda" if is_cuda else "cpu"


def check_engine(
    kind: Literal["auto"] | EngineKind, device: Literal["auto"] | DeviceKind, environment: Environment = _HERE
) -> None:
    """Check the settings in a process that will not run the engine itself.

    `auto` and `auto` always pass, without loading PyTorch to look for a GPU.

    Raises:
        EngineUnavailableError: As `choose_engine`.
    """
    if (kind, device) != ("auto", "auto"):
        choose_engine(kind, device, environment)


def warn_gpu_unused(
    kind: Literal["auto"] | EngineKind,
    device: Literal["auto"] | DeviceKind,
    chosen: tuple[EngineKind, DeviceKind],
    environment: Environment = _HERE,
) -> None:
    """Log a warning where a container with CUDA runs its models on the CPU and the settings do not ask for that.

    `chosen` is what `choose_engine` returned for the engine and the device of the settings.
    """
    if (kind, device) != ("auto", "auto") or chosen[1] == "cuda" or not environment.is_built_for_cuda():
        return
    if environment.has_gpu_node():
        reason = "PyTorch cannot use the driver of the GPU that the container has"
        advice = "Look at `nvidia-smi` in the container; the host's driver has to be as new as this CUDA needs"
    else:
        reason = "the container was given no GPU"
        advice = "Start it with `docker run --gpus all` on a host with the NVIDIA Container Toolkit"
    logger.warning(
        "This container was made for a GPU and serves on the CPU, with the engine `%s`: %s. %s, or set "
        "LIGHTBOX_DEVICE=cpu if the CPU is meant.",
        chosen[0],
        reason,
        advice,
    )


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
    """Load a prepared model into the engine that `choose_engine` returned.

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
