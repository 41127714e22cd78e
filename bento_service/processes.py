"""What the system knows of other processes. Linux only."""

from pathlib import Path

_PROCESSES = Path("/proc")
_GONE_STATES = frozenset("ZX")
"""Ended, and not yet taken notice of by its parent."""


def is_running(process_id: int) -> bool:
    """Tell whether a process runs; one that ended does not, even where its parent has not yet asked how."""
    try:
        stat = (_PROCESSES / str(process_id) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    # Behind the program's name in parentheses, which may hold anything: proc(5).
    return stat.rpartition(")")[2].split()[0] not in _GONE_STATES
