"""Processes that stand for workers."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def living_process() -> Iterator[int]:
    """Give the id of a process that lives as long as the context."""
    script = "import sys; sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-IS", "-c", script], stdin=subprocess.PIPE) as process:
        yield process.pid


def dead_process_id() -> int:
    """Return the id of a process that has died."""
    with subprocess.Popen([sys.executable, "-IS", "-c", ""]) as process:
        pass
    return process.pid
