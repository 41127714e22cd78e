"""The native resizer must never read outside an image's buffer."""

import signal
import subprocess
import sys

import pytest

IMAGES = 1500
TIMEOUT_S = 120.0
OVERRUN = """
import ctypes
import resource
from tests.unit.images.guard_pages import guarded

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
with guarded(10_000, {edge!r}) as pixels:
    ctypes.string_at(pixels.ctypes.data + {offset}, 1)
    print("read")
"""


def test_images_of_odd_sizes_and_all_orientations_are_resized_without_a_read_out_of_bounds() -> None:
    command = [sys.executable, "-m", "tests.unit.images.guard_pages", str(IMAGES)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)

    assert (finished.returncode, finished.stdout) == (0, f"{IMAGES}\n"), finished.stderr


@pytest.mark.parametrize(
    ("edge", "offset", "is_within"), [("last", 9_999, True), ("last", 10_000, False), ("first", -1, False)]
)
def test_a_read_out_of_bounds_would_end_the_program(edge: str, offset: int, is_within: bool) -> None:
    command = [sys.executable, "-c", OVERRUN.format(edge=edge, offset=offset)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)

    assert (finished.returncode == 0) is is_within
    assert finished.returncode in (0, -signal.SIGSEGV)
