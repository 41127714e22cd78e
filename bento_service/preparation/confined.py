"""What runs in the child process of `confinement`: nothing else may read a file from outside, or run it."""

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from bento_service.errors import LightboxError, OutOfMemoryError


def main() -> None:
    """Read a task from stdin, run it within its limits, and write its answer to what was stdout."""
    asked = json.load(sys.stdin)
    _limit(asked["limits"])
    _leave_network()
    # Libraries write to stdout, which is for the answer.
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)
        _answer(answer, asked["task"], asked["request"])
        # Engines' threads may still run; there is nothing to clean up.
        answer.flush()
        os._exit(0)


def _answer(stream: IO[str], task: str, request: Mapping[str, Any]) -> None:
    result: object = None
    error = ""
    out_of_memory = False
    try:
        # Here, since importing them takes memory and time that are limited.
        from bento_service.preparation.onnx_tasks import TASKS

        result = TASKS[task](request)
    except (MemoryError, OutOfMemoryError):
        out_of_memory = True
    except LightboxError as expected:
        error = expected.message
    json.dump({"result": result, "error": error, "out_of_memory": out_of_memory}, stream)


def _limit(limits: Mapping[str, int]) -> None:
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, limits["memory_bytes"]),
        (resource.RLIMIT_CPU, limits["cpu_s"]),
        (resource.RLIMIT_FSIZE, limits["written_bytes"]),
    ):
        # macOS refuses limits of address space.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (most, most))
    # Ends this process where its parent cannot any more.
    signal.alarm(limits["wall_s"])
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, linux/prctl.h: when the parent dies
    with contextlib.suppress(OSError):
        # The first that Linux ends where memory runs out.
        Path("/proc/self/oom_score_adj").write_text("1000")


def _leave_network() -> None:
    """Move to an empty network, where Linux allows that (as root, or where users may make namespaces)."""
    new_user, new_network = 0x10000000, 0x40000000  # linux/sched.h
    with contextlib.suppress(AttributeError, OSError):
        unshare = ctypes.CDLL(None).unshare
        if unshare(new_network) != 0:
            unshare(new_user | new_network)
