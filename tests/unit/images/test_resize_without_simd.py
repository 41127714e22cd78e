import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT_SIMD = """
import sys
sys.modules["cykooz_resizer"] = None  # importing it now raises ImportError, as on Linux on ARM
import pytest
sys.exit(pytest.main(["-q", "-n", "0", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""
SUITES = ("test_resize.py", "test_orientation.py")
REDUCED = "not very_long and not one_pixel_wide"
"""Pillow enlarges with the SIMD resizer too."""


def test_without_the_simd_resizer_images_are_resized_exactly_as_by_timm() -> None:
    """`assert_as_timm`, on which these suites rest, allows no difference then."""
    pytest.importorskip("timm", reason="timm is not installed, as in both suites")
    suites = [str(Path(__file__).with_name(suite)) for suite in SUITES]
    command = [sys.executable, "-c", WITHOUT_SIMD, "-k", REDUCED, *suites]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)

    assert finished.returncode == 0, finished.stdout + finished.stderr
