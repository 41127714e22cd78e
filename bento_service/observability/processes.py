"""What the system knows of other processes. Linux only; proc(5) says what its files hold."""

import os
import signal
import time
from pathlib import Path

_PROCESSES = Path("/proc")
_GONE_STATES = frozenset("ZX")
"""Ended, and not yet taken notice of by its parent."""
_STATE, _START_TICKS = 0, 19
"""Places in a process's `stat`, behind its program's name."""


def is_running(process_id: int) -> bool:
    """Tell whether a process runs; one that ended does not, even where its parent has not yet asked how."""
    try:
        return _read_stat(process_id)[_STATE] not in _GONE_STATES
    except (FileNotFoundError, ProcessLookupError):
        return False


def read_start_s(process_id: int) -> float:
    """Return when a process started, in seconds since the epoch: the same whoever asks. Now, where nothing tells."""
    try:
        booted = next(line for line in (_PROCESSES / "stat").read_text().splitlines() if line.startswith("btime "))
        return int(booted.split()[1]) + int(_read_stat(process_id)[_START_TICKS]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, StopIteration):
        return time.time()


def describe_exit(exit_code: int) -> str:
    """Say how a process ended, by its exit code: the negative number of the signal where one ended it."""
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    # The kernel tells a parent no more than the signal.
    return f"was ended by {name}{' (out of memory?)' if -exit_code == signal.SIGKILL else ''}"


def _read_stat(process_id: int) -> list[str]:
    # Behind the program's name in parentheses, which may hold anything.
    return (_PROCESSES / str(process_id) / "stat").read_text().rpartition(")")[2].split()
