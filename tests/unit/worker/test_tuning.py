"""In a process of its own each: what is tuned is the whole interpreter."""

import json
import subprocess
import sys

import pytest

from bento_service.machine import COMPUTE_NICENESS
from bento_service.worker.tuning import GARBAGE_THRESHOLD, SWITCH_INTERVAL_S

TUNE = """
import errno, gc, json, os, sys, threading
from pathlib import Path
from bento_service.worker import tuning
stop = threading.Event()
computing = threading.Thread(target=stop.wait, name="lightbox-lane-0")
decoding = threading.Thread(target=stop.wait, name="lightbox-decode-0")
computing.start()
decoding.start()
def refuse(*arguments):
    raise PermissionError(errno.EPERM, "Operation not permitted")
if sys.argv[1] == "refused":
    os.setpriority = refuse
if sys.argv[1] == "without /proc":
    tuning._THREADS = Path("/nowhere")
tuning.tune_runtime()
nice = lambda thread_id: os.getpriority(os.PRIO_PROCESS, thread_id)
own = nice(threading.get_native_id())
print(json.dumps([nice(computing.native_id) - own, nice(decoding.native_id) - own, sys.getswitchinterval(),
                  gc.get_threshold()[0], gc.get_freeze_count() > 1000]))
stop.set()
computing.join()
decoding.join()
"""


@pytest.mark.parametrize(
    ("mode", "niceness", "warned"),
    [
        ("allowed", COMPUTE_NICENESS, ""),
        ("refused", 0, "Compute threads keep their priority"),
        ("without /proc", 0, ""),
    ],
)
def test_a_tuned_process_prefers_the_event_loop_where_it_may(mode: str, niceness: int, warned: str) -> None:
    done = subprocess.run([sys.executable, "-c", TUNE, mode], capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == [niceness, 0, SWITCH_INTERVAL_S, GARBAGE_THRESHOLD, True]
    assert done.stderr.startswith(warned)
    assert done.stderr.count("\n") == (1 if warned else 0)
