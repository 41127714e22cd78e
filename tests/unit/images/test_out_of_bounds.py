import subprocess
import sys

IMAGES = 1500


def test_the_native_resizer_never_reads_out_of_bounds() -> None:
    command = [sys.executable, "-m", "tests.unit.images.guard_pages", str(IMAGES)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert (finished.returncode, finished.stdout) == (0, f"{IMAGES}\n"), finished.stderr
