"""Run a step on a file from outside in a child process with limits, so that it can harm nothing but that process."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Final

import psutil

from bento_service.errors import ModelLoadError
from bento_service.machine import count_cpus

TASK_MODULE: Final = "bento_service.preparation.confined"
MAX_ANSWER_BYTES = 4_000_000
_PACKAGES = Path(__file__).parents[2]
_RUN_TASK = f"import sys; sys.path.insert(0, sys.argv[1]); from {TASK_MODULE} import main; main()"
_KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH")
_GIB = 2**30
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child process may use: address space, wall-clock time, and the largest file it may write."""

    memory_bytes: int
    wall_s: float
    written_bytes: int = 2 * _GIB

    @classmethod
    def of_file(cls, size_bytes: int, available_bytes: int | None = None) -> "Limits":
        """Return limits for the first load of a file of this size.

        Engines took 0.5 GB of address space for 7 MB, and 1.9 GB for a graph that makes weights of 0.55 GB; each copy
        that a conversion takes is one more file. Both loaded within 3 s on two CPUs.

        `available_bytes` is the machine's free memory if None.
        """
        wanted = 3 * _GIB + 8 * size_bytes + count_cpus() * 2**24
        free = psutil.virtual_memory().available if available_bytes is None else available_bytes
        return cls(max(_GIB, min(wanted, int(free * 0.9))), wall_s=20 + size_bytes / 25_000_000)

    def for_runs(self, run_s: float, images: int) -> "Limits":
        """Return limits with the time that so many images take, three times over, for one that takes `run_s`."""
        return replace(self, wall_s=self.wall_s + 30 + 3 * run_s * images)


def run_confined(
    task: str,
    request: Mapping[str, object],
    limits: Limits,
    *,
    subject: str,
    on_progress: Callable[[int], None] = lambda percent: None,
) -> Mapping[str, Any]:
    """Run a task of `confined.TASKS` in a child process, and return its answer.

    The child has its own limits on memory, CPU time, written files and wall-clock time, writes no core dump, gets no
    settings of the service by its environment, and on Linux, where it may, leaves the network. Its answer is JSON.

    Args:
        task: The task's name.
        request: What it takes, as JSON.
        limits: What it may use.
        subject: The file, for messages.
        on_progress: Called with what the task writes to the file descriptor `progress_fd` of its request: a percentage
            of three characters, at the beginning of the file.

    Raises:
        ModelLoadError: The task failed, or exceeded a limit.
    """
    environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    # More than two of glibc's heaps would count 64 MB of address space each.
    environment |= {"MALLOC_ARENA_MAX": "2", "BENTOML_DO_NOT_TRACK": "True"}
    with ExitStack() as files:
        answer, question, log, progress = (files.enter_context(tempfile.TemporaryFile()) for _ in range(4))
        asked = {**request, "progress_fd": progress.fileno()}
        confined = {"task": task, "request": asked, "limits": _to_rlimits(limits)}
        question.write(json.dumps(confined).encode())
        question.seek(0)
        command = (sys.executable, "-P", "-c", _RUN_TASK, str(_PACKAGES))

        def read_progress() -> None:
            # Of a process that may write anything.
            if (written := os.pread(progress.fileno(), 3, 0)).strip().isdigit():
                on_progress(int(written))

        child = subprocess.Popen(  # noqa: S603
            command, stdin=question, stdout=answer, stderr=log, env=environment, pass_fds=[progress.fileno()]
        )
        try:
            ended_by = _wait(child, limits, read_progress)
        finally:
            child.kill()
            child.wait()
        if child.returncode == 0:
            return _read_answer(answer, limits, subject)
        raise _explain(child.returncode, ended_by, limits, subject, log)


def _to_rlimits(limits: Limits) -> Mapping[str, float]:
    return {
        "memory_bytes": limits.memory_bytes,
        "cpu_s": int(limits.wall_s * count_cpus()) + 1,
        "wall_s": int(limits.wall_s) + 5,
        "written_bytes": limits.written_bytes,
    }


def _wait(child: "subprocess.Popen[bytes]", limits: Limits, watch: Callable[[], None]) -> str:
    """Wait for the end of a child, and call `watch` at each poll; return `time` or `memory` where it exceeds a limit.

    Its resident memory is looked at too, because macOS does not limit address space.
    """
    ends_s = time.monotonic() + limits.wall_s
    process = psutil.Process(child.pid)
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_POLL_S)
            watch()
            return ""
        watch()
        if time.monotonic() > ends_s:
            return "time"
        with contextlib.suppress(psutil.Error):
            if process.memory_info().rss > limits.memory_bytes:
                return "memory"


def _read_answer(answer: IO[bytes], limits: Limits, subject: str) -> Mapping[str, Any]:
    answer.seek(0)
    encoded = answer.read(MAX_ANSWER_BYTES + 1)
    if len(encoded) > MAX_ANSWER_BYTES:
        raise ModelLoadError(f"{subject!r} has more metadata than {MAX_ANSWER_BYTES:,} bytes, the most that is read.")
    answered = json.loads(encoded)
    if answered["out_of_memory"]:
        raise _explain_memory(limits, subject)
    if answered["error"]:
        raise ModelLoadError(answered["error"])
    result: Mapping[str, Any] = answered["result"]
    return result


def _explain(code: int, ended_by: str, limits: Limits, subject: str, log: IO[bytes]) -> ModelLoadError:
    if ended_by == "time" or -code in (signal.SIGXCPU, signal.SIGALRM):
        return ModelLoadError(
            f"{subject!r} was refused: it was not loaded and run within {limits.wall_s:.0f} s, the most that this step "
            "of its import may take. It may run without end."
        )
    # SIGKILL is also what the kernel ends a process with that it has no memory for.
    if ended_by == "memory" or -code == signal.SIGKILL:
        return _explain_memory(limits, subject)
    log.seek(max(0, log.seek(0, os.SEEK_END) - 2_000))
    lines = log.read().decode(errors="replace").strip().splitlines()
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    raise ModelLoadError(
        f"{subject!r} was refused: the process that loaded it ended with {how}. {lines[-1] if lines else ''}".strip()
    )


def _explain_memory(limits: Limits, subject: str) -> ModelLoadError:
    return ModelLoadError(
        f"{subject!r} was refused: it takes more memory than the {limits.memory_bytes / _GIB:.1f} GiB that its import "
        "may use. They follow from the file's size and the machine's free memory."
    )
