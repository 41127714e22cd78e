"""In a process of its own each: what is tuned is the whole interpreter."""

import subprocess
import sys

import pytest

from bento_service.worker.tuning import COMPUTE_NICENESS, GARBAGE_THRESHOLD, SWITCH_INTERVAL_S

TUNE = """
import gc, os, sys, threading
from bento_service.worker.tuning import tune_runtime
stop = threading.Event()
computing = threading.Thread(target=stop.wait, name="lightbox-lane-0")
decoding = threading.Thread(target=stop.wait, name="lightbox-decode-0")
computing.start()
decoding.start()
tune_runtime()
nice = lambda thread_id: os.getpriority(os.PRIO_PROCESS, thread_id)
print({expression})
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


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("nice(computing.native_id) - nice(threading.get_native_id())", str(COMPUTE_NICENESS)),
        ("nice(decoding.native_id) - nice(threading.get_native_id())", "0"),
        ("sys.getswitchinterval()", str(SWITCH_INTERVAL_S)),
        ("gc.get_threshold()[0]", str(GARBAGE_THRESHOLD)),
        ("gc.get_freeze_count() > 1000", "True"),
    ],
    ids=["lanes yield", "decoding, which holds the lock, does not", "switches", "garbage", "what lives is left alone"],
)
def test_a_tuned_process_prefers_the_event_loop(expression: str, expected: str) -> None:
    script = TUNE.format(expression=expression)

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == expected
