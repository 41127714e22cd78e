from pathlib import Path

import psutil

from bento_service.engines.devices import describe_cpu, read_cpu_name, read_memory_bytes

MACHINE_BYTES = psutil.virtual_memory().total


def test_the_cpu_of_this_machine_has_a_name_memory_and_cores() -> None:
    device = describe_cpu()

    assert device.kind == "cpu"
    assert device.name
    assert 0 < device.memory_bytes <= MACHINE_BYTES
    assert device.cores >= 1


def test_the_cpus_name_comes_from_its_first_core(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nmodel name\t: Fast CPU: 2 GHz\n\nprocessor\t: 1\nmodel name\t: Other\n")

    assert read_cpu_name(file) == "Fast CPU: 2 GHz"


def test_a_cpu_without_a_name_is_called_cpu(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\n")

    assert read_cpu_name(tmp_path / "cpuinfo") == "CPU"
    assert read_cpu_name(tmp_path / "missing") == "CPU"


def test_a_containers_memory_limit_counts(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1048576\n")

    assert read_memory_bytes((tmp_path / "missing", tmp_path / "memory.max")) == 1048576


def test_without_a_limit_the_machines_memory_counts(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")

    assert read_memory_bytes((tmp_path / "memory.max",)) == MACHINE_BYTES


def test_a_limit_above_the_machines_memory_is_none(tmp_path: Path) -> None:
    (tmp_path / "limit").write_text("9223372036854771712\n")

    assert read_memory_bytes((tmp_path / "limit",)) == MACHINE_BYTES
