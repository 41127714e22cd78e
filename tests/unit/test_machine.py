import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_service.machine import choose_workers, count_cpus, divide, lower_thread_priority, read_available_bytes
from bento_service.settings import Settings


@pytest.mark.parametrize(("cpus", "workers"), [(1, 1), (2, 1), (8, 1), (15, 1), (16, 2), (64, 8)])
def test_a_worker_has_at_least_eight_cpus_where_there_are(cpus: int, workers: int) -> None:
    assert choose_workers(cpus) == workers


def test_an_operator_may_choose_another_number_of_workers() -> None:
    assert Settings(workers=3).worker_count == 3
    assert Settings().worker_count == choose_workers(count_cpus())


@given(cpus=st.integers(1, 256))
def test_on_a_cpu_each_cpu_has_one_lane_but_for_a_remainder(cpus: int) -> None:
    workers = choose_workers(cpus)
    division = divide(cpus, workers=workers, device_kind="cpu", platform="linux")

    assert cpus - workers < workers * division.lanes <= cpus
    assert division.compute_threads == division.lanes


def test_on_a_gpu_there_are_two_lanes_and_every_cpu_decodes() -> None:
    division = divide(16, workers=2, device_kind="cuda")

    assert (division.lanes, division.decode_threads) == (2, 8)


def test_on_macos_one_lane_has_every_thread() -> None:
    division = divide(10, workers=1, device_kind="cpu", platform="darwin")

    assert (division.lanes, division.compute_threads, division.decode_threads) == (1, 10, 10)


def test_the_operators_choice_of_lanes_and_threads_is_kept() -> None:
    division = divide(4, workers=1, device_kind="cpu", lanes=3, decode_threads=1)

    assert (division.lanes, division.decode_threads) == (3, 1)


@pytest.fixture
def two_cpus() -> Iterator[int]:
    """The affinity mask narrowed to two CPUs, so that a quota of one can be told from it."""
    mask = os.sched_getaffinity(0)
    if len(mask) < 2:
        pytest.skip("a machine with one CPU")
    os.sched_setaffinity(0, sorted(mask)[:2])
    yield 2
    os.sched_setaffinity(0, mask)


def write_v1(folder: Path, quota: str, period: str = "100000") -> None:
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (folder / "cpu.cfs_period_us").write_text(f"{period}\n")


QUOTAS = [("100000", 1), ("50000", 1), ("190000", 1), ("800000", 2)]


@pytest.mark.parametrize(("quota", "cpus"), [*QUOTAS, ("max", 2)])
def test_a_containers_quota_narrows_the_cpus(tmp_path: Path, two_cpus: int, quota: str, cpus: int) -> None:
    (tmp_path / "cpu.max").write_text(f"{quota} 100000\n")

    assert count_cpus(tmp_path) == cpus


@pytest.mark.parametrize("controller", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize(("quota", "cpus"), [*QUOTAS, ("-1", 2)])
def test_a_quota_of_cgroup_v1_narrows_them_too(
    tmp_path: Path, two_cpus: int, controller: str, quota: str, cpus: int
) -> None:
    write_v1(tmp_path / controller, quota)

    assert count_cpus(tmp_path) == cpus


@pytest.mark.parametrize(("quota", "period"), [("", ""), ("many", "100000"), ("100000", "0"), ("100000", "")])
def test_an_unreadable_quota_is_ignored(tmp_path: Path, two_cpus: int, quota: str, period: str) -> None:
    write_v1(tmp_path / "cpu", quota, period)
    (tmp_path / "cpu.max").write_text(f"{quota} {period}\n")

    assert count_cpus(tmp_path) == two_cpus


def test_without_control_groups_all_cpus_count(tmp_path: Path, two_cpus: int) -> None:
    assert count_cpus(tmp_path / "none") == two_cpus


def test_without_affinity_masks_all_cpus_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS

    assert count_cpus(tmp_path / "none") == os.cpu_count()


@pytest.mark.parametrize(
    ("files", "available"),
    [
        pytest.param({}, None, id="no control group"),
        pytest.param({"memory.max": "max", "memory.current": "5", "memory.stat": ""}, None, id="no limit"),
        pytest.param(
            {"memory.max": "1000000", "memory.current": "700000", "memory.stat": "anon 1\ninactive_file 200000\n"},
            500_000,
            id="v2, file cache left out",
        ),
        pytest.param(
            {
                "memory/memory.limit_in_bytes": "1000000",
                "memory/memory.usage_in_bytes": "700000",
                "memory/memory.stat": "total_inactive_file 100000\n",
            },
            400_000,
            id="v1",
        ),
        pytest.param(
            {"memory.max": "1000", "memory.current": "2000", "memory.stat": "inactive_file 0\n"}, 0, id="over its limit"
        ),
    ],
)
def test_available_memory_is_that_of_the_machine_or_of_a_limit_below(
    files: dict[str, str], available: int | None, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    found = read_available_bytes(tmp_path)

    assert found == available if available is not None else found > 10_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a niceness for each thread")
def test_a_thread_that_lowers_its_priority_and_those_it_starts_leave_the_others_alone() -> None:
    nice: list[int] = []

    def read() -> None:
        nice.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    def run() -> None:
        lower_thread_priority(3)
        read()
        child = threading.Thread(target=read)
        child.start()
        child.join()

    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()

    base = os.getpriority(os.PRIO_PROCESS, os.getpid())
    assert nice == [min(19, base + 3)] * 2
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
