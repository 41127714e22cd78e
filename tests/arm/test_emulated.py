"""One classification on ARM, by qemu's user mode; takes minutes. `make test-arm` makes what it needs."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
ARM = REPOSITORY / ".cache" / "arm"
QEMU = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
MODEL = "efficientnet_lite0"

pytestmark = [
    pytest.mark.skipif(QEMU is None, reason="needs qemu-user or qemu-user-static"),
    pytest.mark.skipif(not (ARM / "complete").exists(), reason="needs the ARM root file system of tests/arm-root"),
    pytest.mark.timeout(1800),
]


def classify(python: Sequence[str], home: Path, variables: dict[str, str]) -> list[tuple[int, float]]:
    """Classify a sample with this Python; return its classes and scores."""
    sample = REPOSITORY / "dashboard" / "samples" / "chelsea.png"
    command = [*python, "-m", "bento_service", "classify", "--local", "--json", str(sample)]
    # With one lane the model is compiled once instead of twice.
    chosen = {"BENTOML_HOME": str(home), "LIGHTBOX_MODELS": MODEL, "LIGHTBOX_LANES": "1"}
    environment = os.environ | chosen | variables
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    predictions = json.loads(finished.stdout)["result"]["predictions"]
    return [(prediction["class_id"], prediction["score"]) for prediction in predictions]


def test_an_image_is_classified_on_arm_as_here(bentoml_home: Path) -> None:
    python = [str(QEMU), "-L", str(ARM), str(ARM / "usr" / "bin" / "python3.13")]
    # A CPU without SVE, whose emulation takes four times as long.
    variables = {"PYTHONPATH": f"{REPOSITORY}:{ARM / 'site'}", "QEMU_CPU": "neoverse-n1"}
    on_arm = classify(python, bentoml_home, variables)
    here = classify([sys.executable], bentoml_home, {"PYTHONPATH": str(REPOSITORY)})

    assert [class_id for class_id, _ in on_arm] == [class_id for class_id, _ in here]
    # The resizers differ in roundings (ADR 5); the models do in the seventh digit.
    assert [score for _, score in on_arm] == pytest.approx([score for _, score in here], abs=0.005)
