"""What Linux says of the processes of a service, in /proc; see proc(5)."""

import os
import time
from pathlib import Path

_GONE_STATES = frozenset("ZX")
"""Of a process whose parent has not yet taken note of its end: zombie, dead."""
_STATE, _START_TICKS = 0, 19
"""Places behind the program's name."""


def is_running(pid: int) -> bool:
    """Whether the process is there and has not ended."""
    try:
        return _read_stat(pid)[_STATE] not in _GONE_STATES
    except (FileNotFoundError, ProcessLookupError):
        return False


def read_start_s(pid: int) -> float:
    """Return when the process started, in seconds since the epoch: the same whoever asks and whenever.

    Now, where nothing tells.
    """
    try:
        booted = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
        return int(booted.split()[1]) + int(_read_stat(pid)[_START_TICKS]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, StopIteration):
        return time.time()


def _read_stat(pid: int) -> list[str]:
    # Behind the program's name in parentheses, which may hold anything.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
