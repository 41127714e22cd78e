import ctypes
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from bento_service.engines.devices import describe_cpu, describe_gpu, has_gpu, read_cpu_name, read_memory_bytes

MACHINE_BYTES = psutil.virtual_memory().total


def test_the_cpu_of_this_machine_has_a_name_memory_and_cores() -> None:
    device = describe_cpu()
    assert device.kind == "cpu"
    assert device.name
    assert 0 < device.memory_bytes <= MACHINE_BYTES
    assert device.cores >= 1


ARCHITECTURE = f"{platform.machine()} CPU"


@pytest.mark.parametrize(
    ("cpu_info", "name"),
    [
        ("processor\t: 0\nmodel name\t: Fast CPU: 2 GHz\n\nprocessor\t: 1\nmodel name\t: Other\n", "Fast CPU: 2 GHz"),
        ("processor\t: 0\nCPU part\t: 0xd08\n\nModel\t: Raspberry Pi 4 Model B\n", "Raspberry Pi 4 Model B"),
        ("processor\t: 0\nCPU part\t: 0xd0c\n", ARCHITECTURE),
    ],
)
def test_the_cpus_name_is_that_of_its_first_core_or_board(cpu_info: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(cpu_info)

    assert read_cpu_name(tmp_path / "cpuinfo", tmp_path / "sysctl") == name


@pytest.mark.parametrize(
    ("script", "name"),
    [
        ('[ "$*" = "-n machdep.cpu.brand_string" ] && echo Apple M4', "Apple M4"),
        ("exit 1", ARCHITECTURE),
        (None, ARCHITECTURE),
    ],
)
def test_without_proc_the_cpus_name_is_macoss(script: str | None, name: str, tmp_path: Path) -> None:
    sysctl = tmp_path / "sysctl"
    if script is not None:
        sysctl.write_text(f"#!/bin/sh\n{script}\n")
        sysctl.chmod(0o755)

    assert read_cpu_name(tmp_path / "cpuinfo", sysctl) == name


@pytest.mark.parametrize(
    ("limit", "memory_bytes"),
    [("1048576\n", 1048576), ("max\n", MACHINE_BYTES), ("9223372036854771712\n", MACHINE_BYTES)],
)
def test_memory_is_the_machines_or_a_lower_limit(limit: str, memory_bytes: int, tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(limit)
    assert read_memory_bytes((tmp_path / "missing", tmp_path / "memory.max")) == memory_bytes


@dataclass
class FakeDriver:
    """The calls of libcuda; each returns 0, or an error's number."""

    name: bytes | None = b"NVIDIA H200"
    init_error: int = 0

    def cuInit(self, flags: int) -> int:  # noqa: N802 - as the library calls it
        return self.init_error

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:  # noqa: N802
        return 0

    def cuDeviceGetName(self, buffer: Any, size: int, device: Any) -> int:  # noqa: N802
        if self.name is None:
            return 999
        ctypes.memmove(buffer, self.name, len(self.name))
        return 0

    def cuDeviceTotalMem_v2(self, memory: Any, device: Any) -> int:  # noqa: N802
        memory._obj.value = 141_000_000_000
        return 0


@pytest.mark.parametrize(("name", "shown"), [(b"NVIDIA H200", "NVIDIA H200"), (None, "GPU")])
def test_a_gpu_has_the_drivers_name_and_memory_without_pytorch(name: bytes | None, shown: str) -> None:
    device = describe_gpu(lambda: FakeDriver(name))

    assert (device.kind, device.name, device.memory_bytes) == ("cuda", shown, 141_000_000_000)


def raise_no_driver() -> None:
    raise OSError("libcuda.so.1: cannot open shared object file")


def test_without_a_driver_or_a_card_there_is_no_gpu() -> None:
    assert not has_gpu(raise_no_driver)
    assert not has_gpu(lambda: FakeDriver(init_error=100))
    assert has_gpu(FakeDriver)


def test_onnxruntime_prepares_no_telemetry(tmp_path: Path) -> None:
    """With telemetry, importing it writes an identifier into the folder for temporary files."""
    code = "from bento_service.engines.devices import has_cuda_provider; has_cuda_provider()"
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}

    subprocess.run([sys.executable, "-c", code], env=environment | {"TMPDIR": str(tmp_path)}, check=True)

    assert not list(tmp_path.iterdir())
