"""How much of the machine this process may use, and how it is divided."""

import os
from dataclasses import dataclass
from pathlib import Path

_CPUS_A_WORKER = 8
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True, slots=True)
class Division:
    """How a worker divides its share: batches in flight, decoding threads, and compute threads for one model."""

    lanes: int
    decode_threads: int
    compute_threads: int


def count_cpus(quota_file: Path = _CPU_QUOTA) -> int:
    """Count the CPUs that this process may use: its affinity mask, narrowed by a container's quota (cgroup v2)."""
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = quota_file.read_text().split()
    except (OSError, ValueError):
        return allowed
    return allowed if quota == "max" else max(1, min(allowed, int(quota) // int(period)))


def choose_workers(cpus: int) -> int:
    """Choose the number of worker processes: one for every eight CPUs, at least one.

    Each has its own models in memory, so they are few; but a worker's event loop is one thread. An image takes half a
    millisecond of it under load and one where images come singly, and some seven of the CPUs that decode and infer
    (`bench/results/cpu_shares-2026-11-21.json`): nine to fourteen CPUs would keep it busy all the time.
    """
    return max(1, cpus // _CPUS_A_WORKER)


def divide(
    cpus: int, *, workers: int, device_kind: str, lanes: int | None = None, decode_threads: int | None = None
) -> Division:
    """Divide the CPUs among the workers, and each share among lanes and decoding.

    On a CPU a lane is a stream of one thread, as many as there are CPUs, since batching gains nothing there. On a GPU
    two lanes overlap copy and compute, and every CPU may decode.

    Args:
        cpus: CPUs of the machine that may be used.
        workers: Processes that share them.
        device_kind: `cpu` or `cuda`.
        lanes: The operator's choice, or None.
        decode_threads: The operator's choice, or None.
    """
    share = max(1, cpus // workers)
    return Division(
        lanes=lanes or (2 if device_kind == "cuda" else share),
        decode_threads=decode_threads or share,
        compute_threads=share,
    )
