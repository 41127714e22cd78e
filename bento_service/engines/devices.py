"""The CPU and the CUDA GPU of this machine: name, memory, and which library can use them."""

import importlib.util
from pathlib import Path

import psutil

from bento_service.domain.runner import Device
from bento_service.machine import count_cpus

_CPU_INFO = Path("/proc/cpuinfo")
_MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""A container's memory limit: cgroup v2, then v1."""

_GPU_NODES = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/kfd"))
"""Device nodes of GPU drivers: NVIDIA's, NVIDIA's under WSL, and AMD's, which torch calls `cuda` too."""

CUDA_PROVIDER = "CUDAExecutionProvider"
"""ONNX Runtime's name for running on a CUDA GPU."""


def describe_cpu() -> Device:
    """Describe the CPU: its name, the cores that this process may use, and memory within the container's limit."""
    return Device("cpu", read_cpu_name(_CPU_INFO), read_memory_bytes(_MEMORY_LIMITS), count_cpus())


def describe_cuda() -> Device:
    """Describe the CUDA GPU that torch uses; fails where there is none."""
    import torch

    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    return Device("cuda", properties.name, properties.total_memory, count_cpus())


def has_gpu_node() -> bool:
    """Tell whether a GPU driver is loaded, or its device was handed to this container."""
    return any(node.exists() for node in _GPU_NODES)


def has_cuda() -> bool:
    """Tell whether torch can use a CUDA GPU. Torch, slow and large to import, is imported only where a driver is."""
    if not has_gpu_node() or importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def has_cuda_provider() -> bool:
    """Tell whether ONNX Runtime is installed and was built for CUDA."""
    if importlib.util.find_spec("onnxruntime") is None:
        return False
    import onnxruntime

    return CUDA_PROVIDER in onnxruntime.get_available_providers()


def read_cpu_name(cpu_info: Path) -> str:
    """Return the CPU's name from `/proc/cpuinfo`, or `CPU` where it has none. psutil does not know it."""
    try:
        lines = cpu_info.read_text().splitlines()
    except OSError:
        return "CPU"
    fields = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in fields if key.strip() == "model name"), "CPU")


def read_memory_bytes(limit_files: tuple[Path, ...]) -> int:
    """Return the machine's memory, or a container's limit below it, which psutil does not know."""
    machine_bytes: int = psutil.virtual_memory().total
    for file in limit_files:
        try:
            return min(machine_bytes, int(file.read_text()))
        except (OSError, ValueError):  # no such file, or `max`
            continue
    return machine_bytes
