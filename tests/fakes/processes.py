"""Processes in place of workers."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


@contextmanager
def living_process() -> Iterator[int]:
    """The id of a process that lives as long as the context."""
    script = "import sys; sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-IS", "-c", script], stdin=subprocess.PIPE) as process:
        yield process.pid


def dead_process_id() -> int:
    """Return the id of a process that has died."""
    with subprocess.Popen([sys.executable, "-IS", "-c", ""]) as process:
        pass
    return process.pid


def is_running(process_id: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return psutil.Process(process_id).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False
