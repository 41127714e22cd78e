"""How much of the machine this process may use, and how it is divided."""

import os
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

COMPUTE_NICENESS = 5
"""Niceness of the threads that compute, above that of all others. More would yield to other processes too."""
_CPUS_A_WORKER = 8
_CONTROL_GROUP = Path("/sys/fs/cgroup")
_V1_CONTROLLERS = ("cpu", "cpu,cpuacct")
"""Folders of version 1's CPU controller: alone, or mounted together with the accounting one."""


@dataclass(frozen=True, slots=True)
class Division:
    """A worker's share of the machine: batches in flight, decode threads, and compute threads of one model."""

    lanes: int
    decode_threads: int
    compute_threads: int


def count_cpus(control_group: Path = _CONTROL_GROUP) -> int:
    """Count the CPUs of this process: its affinity mask, narrowed by the quota of cgroup v2, or else of v1.

    Rounded down, and at least one. macOS has neither masks nor control groups: there every CPU counts.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _read_quota(control_group / "cpu.max")
    for controller in _V1_CONTROLLERS:
        folder = control_group / controller
        quota = quota or _read_quota(folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us")
    return max(1, min(allowed, int(quota))) if quota else allowed


def _read_quota(*files: Path) -> float | None:
    """Return quota divided by period, which the files hold in this order; None if unlimited."""
    try:
        quota_us, period_us = " ".join(file.read_text() for file in files).split()
        # Unlimited is `max` in version 2 and -1 in version 1.
        return int(quota_us) / int(period_us) if quota_us != "max" and int(quota_us) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def read_available_bytes(control_group: Path = _CONTROL_GROUP) -> int:
    """Return the memory that may still be taken: the machine's, or less where a control group limits it.

    Of the group's use, the file cache that no process has touched lately does not count: the kernel drops it first.
    """
    available_bytes: int = psutil.virtual_memory().available
    for folder, limit_file, used_file, cache_key in (
        (control_group, "memory.max", "memory.current", "inactive_file"),
        (control_group / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            limit_bytes = int((folder / limit_file).read_text())
            used_bytes = int((folder / used_file).read_text())
            statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            cached_bytes = int(statistics.get(cache_key, "0"))
        except (OSError, ValueError):  # no such file, or `max`
            continue
        return max(0, min(available_bytes, limit_bytes - used_bytes + cached_bytes))
    return available_bytes


def lower_thread_priority(niceness: int) -> None:
    """Give the calling thread, and every thread that it starts from now on, a higher niceness than this process's.

    Only Linux has a niceness for each thread; elsewhere, and where a sandbox forbids it, nothing changes.
    """
    if sys.platform == "linux":
        base = os.getpriority(os.PRIO_PROCESS, os.getpid())
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(19, base + niceness))


def choose_workers(cpus: int) -> int:
    """Return the number of worker processes: one for every eight CPUs, at least one.

    Each has its own models in memory, so there should be few. But an image takes 0.5 to 1 ms of a worker's event loop,
    which is one thread, and about 7 ms of the CPUs that decode and infer (`bench/results/cpu_shares-2026-11-21.json`):
    nine to fourteen CPUs would keep the loop busy all the time.
    """
    return max(1, cpus // _CPUS_A_WORKER)


def divide(
    cpus: int,
    *,
    workers: int,
    device_kind: str,
    lanes: int | None = None,
    decode_threads: int | None = None,
    platform: str = sys.platform,
) -> Division:
    """Divide the CPUs among the workers, and each share between lanes and decoding; an operator's choice is kept.

    On a CPU there is one lane of one thread for each CPU, since batching gains nothing there. On a GPU (`device_kind`
    `cuda`) two lanes overlap copying with computing, and every CPU may decode. On macOS (`platform` `darwin`) one lane
    has all threads: they cannot be pinned to cores, of which some are several times as fast as others.
    """
    share = max(1, cpus // workers)
    cpu_lanes = 1 if platform == "darwin" else share
    return Division(
        lanes=lanes or (2 if device_kind == "cuda" else cpu_lanes),
        decode_threads=decode_threads or share,
        compute_threads=share,
    )
