"""How the interpreter of a serving process shares its time between the event loop and the other threads."""

import gc
import logging
import os
import sys
import threading
from pathlib import Path

from bento_service.scheduling.lane import LANE_THREADS

logger = logging.getLogger(__name__)

SWITCH_INTERVAL_S = 0.001
"""How long a thread may keep the interpreter while another waits for it; Python's own 5 ms are half an image's time."""
GARBAGE_THRESHOLD = 20_000
"""New containers until the youngest are searched for garbage. Requests leave next to none in cycles, and Python's own
700 make for a search every other request."""
COMPUTE_NICENESS = 5
"""How much the threads that compute yield to all others. More would have a server give way to its neighbours too."""
_THREADS = Path("/proc/self/task")


def tune_runtime() -> None:
    """Tune the interpreter to serving; called once, on the event loop's thread, with the models loaded and warm.

    What lives by then lives as long as the process, so it is never searched for garbage again. The threads that compute
    keep a CPU busy each: without a rank below it, the event loop waits for its turn behind them, and so do refusals and
    probes (ADR 11). Decode threads keep their rank: they hold Python's lock on and off, and whoever is sent to the end
    of the line with it in hand keeps the event loop waiting too. Threads that start later inherit the rank of the
    thread that starts them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        if _THREADS.exists():
            _rank_computing_threads(COMPUTE_NICENESS)
    except OSError as error:
        # A sandbox may forbid it (seccomp); what is lost is speed.
        logger.warning("Threads keep their rank, so the event loop may have to wait for those that compute: %s", error)


def _rank_computing_threads(niceness: int) -> None:
    """Put lanes, and the threads that libraries have of their own, behind all others."""
    # On Linux each thread has a rank of its own, by its id (setpriority(2), NOTES).
    rank = os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) + niceness
    spared = {thread.native_id for thread in threading.enumerate() if not thread.name.startswith(LANE_THREADS)}
    for thread_id in (int(entry.name) for entry in _THREADS.iterdir()):
        if thread_id in spared:
            continue
        try:
            # Only ever down: to climb back takes a privilege.
            os.setpriority(os.PRIO_PROCESS, thread_id, max(rank, os.getpriority(os.PRIO_PROCESS, thread_id)))
        except ProcessLookupError:
            """It ended meanwhile."""
