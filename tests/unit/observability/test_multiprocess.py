"""Files of series, as worker processes leave them that end and are replaced."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, values
from prometheus_client.multiprocess import MultiProcessCollector

from bento_service.observability.multiprocess import drop_gauges, keep_series_by_worker

WORKER = """
import sys
from bento_service.observability.multiprocess import keep_series_by_worker

keep_series_by_worker(int(sys.argv[1]))

from prometheus_client import Counter, Gauge, Histogram

Counter("answers", "help").inc()
Histogram("seconds", "help").observe(0.3)
gauge = Gauge("ready", "help", multiprocess_mode="livesum")
if sys.argv[2] == "ready":
    gauge.set(1)
"""
NAMES = ("answers_total", "seconds_count", "seconds_sum", "ready")


def run_worker(folder: Path, number: int, state: str = "ready") -> None:
    """Runs a worker that counts one of each and ends without closing anything."""
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    subprocess.run([sys.executable, "-c", WORKER, str(number), state], check=True, env=environment)


def scrape(folder: Path) -> list[float | None]:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))
    return [registry.get_sample_value(name) for name in NAMES]


def test_a_replacement_continues_with_the_totals_in_the_same_files(tmp_path: Path) -> None:
    scrapes = []
    for _ in range(3):
        run_worker(tmp_path, 1)
        scrapes.append(scrape(tmp_path))

    assert scrapes == [[1, 1, 0.3, 1], [2, 2, 0.6, 1], [3, 3, pytest.approx(0.9), 1]]
    assert len(list(tmp_path.iterdir())) == 3


def test_workers_are_added_up(tmp_path: Path) -> None:
    run_worker(tmp_path, 1)
    run_worker(tmp_path, 2)

    assert scrape(tmp_path) == [2, 2, 0.6, 2]


def test_the_gauges_of_a_dead_worker_go_and_its_totals_stay(tmp_path: Path) -> None:
    run_worker(tmp_path, 1)
    run_worker(tmp_path, 2)
    drop_gauges(1, tmp_path)

    assert scrape(tmp_path) == [2, 2, 0.6, 1]


def test_a_replacement_begins_with_its_own_gauges(tmp_path: Path) -> None:
    run_worker(tmp_path, 1)
    run_worker(tmp_path, 1, "loading")

    assert scrape(tmp_path)[-1] == 0


def test_outside_of_workers_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = values.ValueClass
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    keep_series_by_worker(1)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    keep_series_by_worker(None)

    assert values.ValueClass is before
