from pathlib import Path

import psutil
import pytest

from bento_service.engines.devices import describe_cpu, read_cpu_name, read_memory_bytes

MACHINE_BYTES = psutil.virtual_memory().total


def test_the_cpu_of_this_machine_has_a_name_memory_and_cores() -> None:
    device = describe_cpu()
    assert device.kind == "cpu"
    assert device.name
    assert 0 < device.memory_bytes <= MACHINE_BYTES
    assert device.cores >= 1


@pytest.mark.parametrize(
    ("cpu_info", "name"),
    [
        ("processor\t: 0\nmodel name\t: Fast CPU: 2 GHz\n\nprocessor\t: 1\nmodel name\t: Other\n", "Fast CPU: 2 GHz"),
        ("processor\t: 0\n", "CPU"),
        (None, "CPU"),
    ],
)
def test_the_cpus_name_is_that_of_its_first_core(cpu_info: str | None, name: str, tmp_path: Path) -> None:
    if cpu_info is not None:
        (tmp_path / "cpuinfo").write_text(cpu_info)
    assert read_cpu_name(tmp_path / "cpuinfo") == name


@pytest.mark.parametrize(
    ("limit", "memory_bytes"),
    [("1048576\n", 1048576), ("max\n", MACHINE_BYTES), ("9223372036854771712\n", MACHINE_BYTES)],
)
def test_memory_is_the_machines_or_a_lower_limit(limit: str, memory_bytes: int, tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(limit)
    assert read_memory_bytes((tmp_path / "missing", tmp_path / "memory.max")) == memory_bytes
