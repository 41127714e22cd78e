"""Processes in place of workers, and this process as another user."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

STRANGER = 12345


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


@contextmanager
def acting_as_stranger() -> Iterator[None]:
    """Run as a user without rights, as with `docker run --user`; skips the test if root does not run it."""
    if os.geteuid() != 0:
        pytest.skip("only root may become another user")
    os.seteuid(STRANGER)
    try:
        yield
    finally:
        os.seteuid(0)
