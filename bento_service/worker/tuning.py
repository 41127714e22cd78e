"""How a serving process shares its time between the event loop and the other threads."""

import gc
import logging
import os
import sys
import threading
from pathlib import Path

from bento_service.machine import COMPUTE_NICENESS
from bento_service.scheduling.lane import LANE_THREADS

logger = logging.getLogger(__name__)

SWITCH_INTERVAL_S = 0.001
"""How long a thread may keep the interpreter while another waits for it; Python's own 5 ms are half an image's time."""
GARBAGE_THRESHOLD = 20_000
"""New containers before the youngest generation is collected. Requests leave almost no cycles, and Python's own 700
would start a collection every other request."""
_THREADS = Path("/proc/self/task")


def tune_runtime() -> None:
    """Tune the interpreter for serving. Call it once, on the event loop's thread, after the models are warm.

    Objects that live now are never searched for garbage again. The threads that compute keep one CPU busy each; they
    get a higher niceness than the event loop, which would otherwise wait behind them, with rejections and probes
    (ADR 11). Decode threads keep their niceness: they hold Python's lock for short times, and one that is preempted
    while it holds the lock blocks the event loop too. Threads inherit the niceness of the thread that starts them.
    Without `/proc`, as on macOS, where only a whole process has a niceness, all threads keep theirs.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        if _THREADS.exists():
            _lower_compute_threads(COMPUTE_NICENESS)
    except OSError as error:
        # A sandbox may forbid it (seccomp); only speed is lost.
        logger.warning("Compute threads keep their priority, so the event loop may have to wait for them: %s", error)


def _lower_compute_threads(niceness: int) -> None:
    """Raise the niceness of the lanes, and of threads that libraries started themselves."""
    # On Linux each thread has its own niceness, by its id (setpriority(2), NOTES).
    nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) + niceness
    spared = {thread.native_id for thread in threading.enumerate() if not thread.name.startswith(LANE_THREADS)}
    for thread_id in (int(entry.name) for entry in _THREADS.iterdir()):
        if thread_id in spared:
            continue
        try:
            # Only a privileged process may lower it.
            os.setpriority(os.PRIO_PROCESS, thread_id, max(nice, os.getpriority(os.PRIO_PROCESS, thread_id)))
        except ProcessLookupError:
            """The thread has ended meanwhile."""
