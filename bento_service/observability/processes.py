"""When a process started, and how one ended."""

import signal
import time

import psutil


def read_start_s(process_id: int) -> float:
    """Return when a process started, in seconds since the epoch; the present time if it has ended."""
    try:
        return psutil.Process(process_id).create_time()
    except psutil.Error:
        return time.time()


def describe_exit(exit_code: int) -> str:
    """Describe how a process ended, by its exit code: minus the signal's number if a signal ended it."""
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    # A parent learns only the signal.
    return f"was ended by {name}{' (out of memory?)' if -exit_code == signal.SIGKILL else ''}"
