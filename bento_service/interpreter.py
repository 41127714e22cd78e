"""How the interpreter of a serving process shares its time between the event loop and the other threads."""

import gc
import os
import sys
import threading
from pathlib import Path

SWITCH_INTERVAL_S = 0.001
"""How long a thread may keep the interpreter while another waits for it; Python's own 5 ms are half an image's time."""
GARBAGE_THRESHOLD = 20_000
"""New containers until the youngest are searched for garbage. Requests leave next to none in cycles, and Python's own
700 make for a search every other request."""
COMPUTE_NICENESS = 3
"""How much every thread but the event loop's yields to it. More would have a server give way to its neighbours too."""
_THREADS = Path("/proc/self/task")


def settle_interpreter() -> None:
    """Tune the interpreter to serving; called once, on the event loop's thread, with the models loaded and warm.

    What lives by then lives as long as the process, so it is never searched for garbage again. The threads that decode
    and compute keep a CPU busy each: without a rank below it, the event loop waits for its turn behind them, and so do
    refusals and probes (ADR 11). Threads that start later inherit the rank of the thread that starts them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    if _THREADS.exists():
        _rank_other_threads(COMPUTE_NICENESS)


def _rank_other_threads(niceness: int) -> None:
    # On Linux each thread has a rank of its own, by its id (setpriority(2), NOTES).
    own = threading.get_native_id()
    rank = os.getpriority(os.PRIO_PROCESS, own) + niceness
    for thread_id in (int(entry.name) for entry in _THREADS.iterdir()):
        if thread_id == own:
            continue
        try:
            # Only ever down: to climb back takes a privilege.
            os.setpriority(os.PRIO_PROCESS, thread_id, max(rank, os.getpriority(os.PRIO_PROCESS, thread_id)))
        except ProcessLookupError:
            """It ended meanwhile."""
