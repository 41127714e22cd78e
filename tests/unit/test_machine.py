import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_service.machine import choose_workers, count_cpus, divide
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
