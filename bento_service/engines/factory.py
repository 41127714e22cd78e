"""Which engine runs on which device, and making it."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

from bento_service.domain.models import ModelCard
from bento_service.engines.base import Engine
from bento_service.engines.devices import has_cuda, has_cuda_provider
from bento_service.engines.onnxruntime_engine import ONNXRuntimeEngine
from bento_service.engines.openvino_engine import OpenVINOEngine
from bento_service.engines.torch.engine import TorchEngine
from bento_service.engines.torch.precision import Precision
from bento_service.errors import EngineUnavailableError

EngineKind = Literal["openvino", "onnxruntime", "torch"]
DeviceKind = Literal["cpu", "cuda"]


class ModelFiles(Protocol):
    """A prepared model, as files that every engine can load."""

    @property
    def card(self) -> ModelCard:
        """What the model is."""

    @property
    def onnx_path(self) -> Path:
        """Its ONNX file, for OpenVINO and ONNX Runtime."""

    @property
    def program_path(self) -> Path:
        """Its torch program, for PyTorch."""


def is_installed(library: str) -> bool:
    """Tell whether a Python package can be imported, without importing it."""
    return importlib.util.find_spec(library) is not None


def choose_engine(
    kind: Literal["auto"] | EngineKind,
    device: Literal["auto"] | DeviceKind,
    *,
    has_cuda: Callable[[], bool] = has_cuda,
    has_cuda_provider: Callable[[], bool] = has_cuda_provider,
    is_installed: Callable[[str], bool] = is_installed,
) -> tuple[EngineKind, DeviceKind]:
    """Settle what `auto` leaves open: PyTorch where there is a CUDA GPU, OpenVINO where there is none.

    Args:
        kind: The engine of the settings.
        device: The device of the settings.
        has_cuda: Tells whether PyTorch can use a CUDA GPU.
        has_cuda_provider: Tells whether ONNX Runtime was built for CUDA.
        is_installed: Tells whether a Python package is there.

    Raises:
        EngineUnavailableError: The wish cannot be met on this machine.
    """
    if kind == "openvino" and device == "cuda":
        raise EngineUnavailableError(
            "The engine `openvino` runs on CPUs, and the device is set to `cuda`. Set the engine to `torch`, "
            "`onnxruntime` or `auto`, or the device to `cpu` or `auto`."
        )
    is_cuda = kind != "openvino" and device != "cpu" and has_cuda()
    if device == "cuda" and not is_cuda:
        raise EngineUnavailableError(
            "The device is set to `cuda`, and PyTorch sees no CUDA GPU here or is not installed. Set the device to "
            "`cpu` or `auto`, or start the container with its GPU (`docker run --gpus all`)."
        )
    chosen: EngineKind = kind if kind != "auto" else "torch" if is_cuda else "openvino"
    if not is_installed(chosen):
        raise EngineUnavailableError(
            f"The engine `{chosen}` needs the Python package {chosen}, which is not installed. "
            f"Install it (`pip install {chosen}`) or set another engine."
        )
    if chosen == "onnxruntime" and is_cuda and not has_cuda_provider():
        if device == "cuda":
            raise EngineUnavailableError(
                "The device is set to `cuda`, and the ONNX Runtime that is installed was built without it. Install "
                "`onnxruntime-gpu` in place of `onnxruntime`, or set the engine to `torch` or the device to `cpu`."
            )
        is_cuda = False
    return chosen, "cuda" if is_cuda else "cpu"


def check_engine(
    kind: Literal["auto"] | EngineKind,
    device: Literal["auto"] | DeviceKind,
    *,
    has_cuda: Callable[[], bool] = has_cuda,
    is_installed: Callable[[str], bool] = is_installed,
) -> None:
    """Refuse a wish that this machine cannot meet, for a process that will not run the engine itself.

    Where both are `auto` nothing was wished for, and a GPU need not be asked, which would load PyTorch.

    Raises:
        EngineUnavailableError: As `choose_engine`.
    """
    if (kind, device) != ("auto", "auto"):
        choose_engine(kind, device, has_cuda=has_cuda, is_installed=is_installed)


def create_engine(
    kind: EngineKind,
    device: DeviceKind,
    model: ModelFiles,
    *,
    lanes: int,
    threads: int,
    workers: int = 1,
    precision: Literal["auto"] | Precision = "auto",
    compile_model: bool = False,
) -> Engine:
    """Load a model into an engine.

    Args:
        kind: As `choose_engine` settled it.
        device: As `choose_engine` settled it.
        model: The prepared model.
        lanes: Threads that will call `infer` at once.
        threads: Compute threads, shared by the lanes.
        workers: Processes on this machine that run engines.
        precision: The arithmetic of PyTorch on a GPU.
        compile_model: Whether PyTorch compiles the model there.

    Raises:
        EngineUnavailableError: The device is not there.
        ModelLoadError: The engine cannot read the model's files.
    """
    if kind == "onnxruntime":
        return ONNXRuntimeEngine(model.onnx_path, model.card, device=device, lanes=lanes, threads=threads)
    if kind == "torch":
        return TorchEngine(
            model.program_path,
            model.card,
            device=device,
            threads=threads,
            lanes=lanes,
            precision=precision,
            compile_model=compile_model,
        )
    return OpenVINOEngine(model.onnx_path, model.card, lanes=lanes, threads=threads, workers=workers)
