"""`lightbox bench` against the real service."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.running_service import RunningService

DURATION_S = 10


@pytest.mark.timeout(600)
def test_a_measurement_ends_in_time_with_a_verdict(service: RunningService, jpegs: list[Path], tmp_path: Path) -> None:
    figures = tmp_path / "bench.json"
    command = [sys.executable, "-m", "bento_service.cli.app", "bench", str(jpegs[0].parent), "--url", service.url]
    options = ["--duration", str(DURATION_S), "--json", str(figures), "--html", str(tmp_path / "bench.html")]

    done = subprocess.run([*command, *options], check=False, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    document = json.loads(figures.read_text())
    survey = document["survey"]
    runs = survey["probes"] + survey["steps"]
    assert document["verdict"].endswith(tuple(f"{limit}{doubt}" for limit in LIMITS for doubt in DOUBTS))
    assert sum(run["failed"] for run in runs) == 0
    assert sum(run["cached"] for run in runs) == 0
    assert all(run["stages_ms"]["inference"] > 0 for run in runs if run["answered"])
    assert survey["steps"][0]["throughput_per_s"] > 0
    assert sum(run["duration_s"] for run in runs) <= DURATION_S


LIMITS = ("limited by decode", "limited by inference", "limited by HTTP", "limited by the client")
DOUBTS = ("", " (likely)", " (not clear)")
