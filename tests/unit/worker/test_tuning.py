"""In a process of its own each: what is tuned is the whole interpreter."""

import subprocess
import sys

import pytest

from bento_service.worker import tuning as interpreter

SETTLE = """
import gc, os, sys, threading
from bento_service.worker.tuning import tune_runtime
stop = threading.Event()
computing = threading.Thread(target=stop.wait, name="lightbox-lane-0")
decoding = threading.Thread(target=stop.wait, name="lightbox-decode-0")
computing.start()
decoding.start()
tune_runtime()
rank = lambda thread_id: os.getpriority(os.PRIO_PROCESS, thread_id)
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
print("settled")
stop.set()
computing.join()
"""


def test_a_sandbox_that_forbids_ranks_costs_a_warning_and_no_worker() -> None:
    done = subprocess.run([sys.executable, "-c", REFUSED], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "settled"
    [warning] = done.stderr.strip().splitlines()
    assert "Threads keep their rank" in warning


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("rank(computing.native_id) - rank(threading.get_native_id())", str(interpreter.COMPUTE_NICENESS)),
        ("rank(decoding.native_id) - rank(threading.get_native_id())", "0"),
        ("sys.getswitchinterval()", str(interpreter.SWITCH_INTERVAL_S)),
        ("gc.get_threshold()[0]", str(interpreter.GARBAGE_THRESHOLD)),
        ("gc.get_freeze_count() > 1000", "True"),
    ],
    ids=["lanes yield", "decoding, which holds the lock, does not", "switches", "garbage", "what lives is left alone"],
)
def test_a_settled_interpreter_puts_the_event_loop_first(expression: str, expected: str) -> None:
    script = SETTLE.format(expression=expression)

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == expected
