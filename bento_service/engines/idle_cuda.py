"""Says why a container made for a GPU runs its models on the CPU."""

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from bento_service.engines.devices import has_gpu_node
from bento_service.engines.factory import DeviceKind, EngineKind

_CUDA_VERSION = re.compile(r"""^cuda\b[^=\n]*=\s*['"]""", re.MULTILINE)


def has_cuda_build(package: Path | None = None) -> bool:
    """Tell whether the torch that is installed, if one is, was built for CUDA, without importing it.

    Args:
        package: Torch's folder; the one that would be imported if None.
    """
    if package is None:
        spec = importlib.util.find_spec("torch")
        if spec is None or spec.origin is None:
            return False
        package = Path(spec.origin).parent
    try:
        return _CUDA_VERSION.search((package / "version.py").read_text()) is not None
    except OSError:
        return False


def warn_gpu_unused(
    kind: Literal["auto"] | EngineKind,
    device: Literal["auto"] | DeviceKind,
    chosen: tuple[EngineKind, DeviceKind],
    *,
    has_cuda_build: Callable[[], bool] = has_cuda_build,
    has_gpu_node: Callable[[], bool] = has_gpu_node,
) -> str | None:
    """Return what runs in place of a GPU that this container was made for, why, and what to do; None if all is meant.

    Args:
        kind: The engine of the settings.
        device: The device of the settings.
        chosen: What `choose_engine` made of both.
        has_cuda_build: Tells whether torch was built for CUDA.
        has_gpu_node: Tells whether a GPU's driver has put a device there.
    """
    if (kind, device) != ("auto", "auto") or chosen[1] == "cuda" or not has_cuda_build():
        return None
    if has_gpu_node():
        reason = "PyTorch cannot use the driver of the GPU that the container has"
        advice = "Look at `nvidia-smi` in the container; the host's driver has to be as new as this CUDA needs"
    else:
        reason = "the container was given no GPU"
        advice = "Start it with `docker run --gpus all` on a host with the NVIDIA Container Toolkit"
    return (
        f"This container was made for a GPU and serves on the CPU, with the engine `{chosen[0]}`: {reason}. {advice}, "
        "or set LIGHTBOX_DEVICE=cpu if the CPU is meant."
    )
