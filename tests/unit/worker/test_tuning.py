"""In a process of its own each: what is tuned is the whole interpreter."""

import json
import subprocess
import sys

from bento_service.worker.tuning import COMPUTE_NICENESS, GARBAGE_THRESHOLD, SWITCH_INTERVAL_S

TUNE = """
import gc, json, os, sys, threading
from bento_service.worker.tuning import tune_runtime
stop = threading.Event()
computing = threading.Thread(target=stop.wait, name="lightbox-lane-0")
decoding = threading.Thread(target=stop.wait, name="lightbox-decode-0")
computing.start()
decoding.start()
tune_runtime()
nice = lambda thread_id: os.getpriority(os.PRIO_PROCESS, thread_id)
own = nice(threading.get_native_id())
print(json.dumps([nice(computing.native_id) - own, nice(decoding.native_id) - own, sys.getswitchinterval(),
                  gc.get_threshold()[0], gc.get_freeze_count() > 1000]))
stop.set()
computing.join()
decoding.join()
"""


REFUSED = """
import errno, os, threading
from bento_service.worker.tuning import tune_runtime
stop = threading.Event()
computing = threading.Thread(target=stop.wait, name="lightbox-lane-0")
computing.start()
def refuse(*arguments):
    raise PermissionError(errno.EPERM, "Operation not permitted")
os.setpriority = refuse
tune_runtime()
print("tuned")
stop.set()
computing.join()
"""


def test_a_sandbox_that_forbids_niceness_costs_a_warning_only() -> None:
    done = subprocess.run([sys.executable, "-c", REFUSED], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "tuned"
    [warning] = done.stderr.strip().splitlines()
    assert "Compute threads keep their priority" in warning


def test_a_tuned_process_prefers_the_event_loop() -> None:
    done = subprocess.run([sys.executable, "-c", TUNE], capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == [COMPUTE_NICENESS, 0, SWITCH_INTERVAL_S, GARBAGE_THRESHOLD, True]
