"""The CPU and the CUDA GPU of this machine: name, memory, and which library can use them."""

import ctypes
import importlib.util
import os
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import psutil

from bento_service.domain.runner import Device
from bento_service.machine import count_cpus

_CPU_INFO = Path("/proc/cpuinfo")
_CPU_NAME_KEYS = ("model name", "Model")
"""Of x86 CPUs, and of ARM boards that name themselves; other ARM CPUs have only numbers there."""
_SYSCTL = Path("/usr/sbin/sysctl")
"""macOS's, which has the CPU's name."""
_MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""A container's memory limit: cgroup v2, then v1."""

_GPU_NODES = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/kfd"))
"""Device nodes of GPU drivers: NVIDIA's, NVIDIA's under WSL, and AMD's, which torch calls `cuda` too."""

CUDA_PROVIDER = "CUDAExecutionProvider"
"""ONNX Runtime's name for running on a CUDA GPU."""


OpenDriver: TypeAlias = Callable[[], Any]
"""Returns the CUDA driver's library, or raises OSError."""


def _open_driver() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")


def describe_cpu() -> Device:
    """Describe the CPU: its name, the cores that this process may use, and memory within the container's limit."""
    return Device("cpu", read_cpu_name(_CPU_INFO, _SYSCTL), read_memory_bytes(_MEMORY_LIMITS), count_cpus())


def describe_cuda() -> Device:
    """Describe the CUDA GPU that torch uses; fails where there is none."""
    import torch

    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    return Device("cuda", properties.name, properties.total_memory, count_cpus())


def describe_gpu(open_driver: OpenDriver = _open_driver) -> Device:
    """Describe the first CUDA GPU that the driver lists, which ONNX Runtime uses and does not describe itself.

    `nvidia-smi` would also list cards that CUDA_VISIBLE_DEVICES hides. The calls are those of the CUDA driver API,
    section "Device Management".

    Raises:
        OSError: There is no driver, or it lists no GPU.
    """
    cuda = open_driver()
    device, name, memory_bytes = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
    if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0):
        raise OSError("The CUDA driver lists no GPU.")
    is_named = cuda.cuDeviceGetName(name, len(name), device) == 0
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory_bytes), device)
    return Device("cuda", name.value.decode() if is_named else "GPU", memory_bytes.value, count_cpus())


def has_gpu(open_driver: OpenDriver = _open_driver) -> bool:
    """Tell whether the CUDA driver lists a GPU, without any other library."""
    try:
        describe_gpu(open_driver)
    except OSError:
        return False
    return True


def has_gpu_node() -> bool:
    """Tell whether a GPU driver is loaded, or its device was handed to this container."""
    return any(node.exists() for node in _GPU_NODES)


def has_cuda() -> bool:
    """Tell whether torch can use a CUDA GPU. Torch, slow and large to import, is imported only where a driver is."""
    if not has_gpu_node() or importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def refuse_telemetry() -> None:
    """Keep ONNX Runtime from sending telemetry, as its wheels do (Privacy.md in them); call it before the import.

    An operator's own `ORT_DISABLE_TELEMETRY` counts.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def has_cuda_provider() -> bool:
    """Tell whether ONNX Runtime is installed and was built for CUDA."""
    if importlib.util.find_spec("onnxruntime") is None:
        return False
    refuse_telemetry()
    import onnxruntime

    return CUDA_PROVIDER in onnxruntime.get_available_providers()


def read_cpu_name(cpu_info: Path, sysctl: Path) -> str:
    """Return the CPU's name from `/proc/cpuinfo` or macOS's sysctl, or else its architecture, as `aarch64 CPU`."""
    try:
        fields = [line.partition(":") for line in cpu_info.read_text().splitlines()]
        names = {key.strip(): value.strip() for key, _, value in reversed(fields)}
        name = next((names[key] for key in _CPU_NAME_KEYS if key in names), "")
    except OSError:
        name = _ask_sysctl(sysctl)
    return name or f"{platform.machine()} CPU"


def _ask_sysctl(sysctl: Path) -> str:
    command = [str(sysctl), "-n", "machdep.cpu.brand_string"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)  # noqa: S603 - the system's
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def read_memory_bytes(limit_files: tuple[Path, ...]) -> int:
    """Return the machine's memory, or a container's limit below it, which psutil does not know."""
    machine_bytes: int = psutil.virtual_memory().total
    for file in limit_files:
        try:
            return min(machine_bytes, int(file.read_text()))
        except (OSError, ValueError):  # no such file, or `max`
            continue
    return machine_bytes
