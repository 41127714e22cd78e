"""Files of series, of worker processes that live and of some that are gone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from bento_service.observability.multiprocess import drop_gauges_of_dead_workers, hold_files, take_over_totals
from tests.fakes.processes import dead_process_id, living_process

WORKER = """
from bento_service.observability.multiprocess import take_over_totals

take_over_totals()

from prometheus_client import Counter, Gauge, Histogram

Counter("answers", "help").inc()
Histogram("seconds", "help").observe(0.3)
Gauge("ready", "help", multiprocess_mode="livesum").set(1)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the files of series are."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    return tmp_path


def run_worker() -> None:
    """Runs a worker that counts one of each and dies."""
    subprocess.run([sys.executable, "-c", WORKER], check=True, cwd=Path(__file__).parents[3])


def scrape(folder: Path, *names: str) -> list[float | None]:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))
    return [registry.get_sample_value(name) for name in names]


def names_in(folder: Path) -> set[str]:
    return {file.name for file in folder.glob("*.db")}


def test_workers_that_replace_one_another_go_on_with_the_same_totals_in_one_file_of_a_kind(folder: Path) -> None:
    totals = []
    for _ in range(3):
        run_worker()
        totals.append(scrape(folder, "answers_total", "seconds_count", "seconds_sum"))

    assert totals == [[1, 1, 0.3], [2, 2, 0.6], [3, 3, pytest.approx(0.9)]]
    kinds = ("counter", "histogram", "gauge_livesum")
    assert [len(list(folder.glob(f"{kind}_*.db"))) for kind in kinds] == [1, 1, 1]


def test_what_a_living_worker_counts_stays_its_own(folder: Path) -> None:
    with living_process() as sibling:
        (folder / f"counter_{sibling}.db").touch()
        take_over_totals()

        assert names_in(folder) == {f"counter_{sibling}.db"}


def test_a_worker_takes_over_from_no_more_than_one(folder: Path) -> None:
    dead = {f"counter_{dead_process_id()}.db", f"counter_{dead_process_id()}.db"}
    for name in dead:
        (folder / name).touch()

    take_over_totals()

    assert len(names_in(folder) & dead) == 1
    assert f"counter_{os.getpid()}.db" in names_in(folder)


def test_a_worker_keeps_what_it_finds_under_its_own_id(folder: Path) -> None:
    own, dead = f"counter_{os.getpid()}.db", f"counter_{dead_process_id()}.db"
    for name in (own, dead):
        (folder / name).write_text(name)

    take_over_totals()

    assert (folder / own).read_text() == own
    assert names_in(folder) == {own, dead}


@pytest.mark.anyio
async def test_no_file_is_renamed_while_a_scrape_reads_them(folder: Path) -> None:
    dead = f"histogram_{dead_process_id()}.db"
    (folder / dead).touch()

    async with hold_files():
        take_over_totals(patience_s=0)
        assert names_in(folder) == {dead}

    take_over_totals(patience_s=0)
    assert names_in(folder) == {f"histogram_{os.getpid()}.db"}


@pytest.mark.anyio
async def test_several_may_scrape_at_once(folder: Path) -> None:
    async with hold_files(), hold_files():
        pass


@pytest.mark.anyio
async def test_a_folder_that_is_gone_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "gone"))

    take_over_totals()
    async with hold_files():
        pass


@pytest.mark.anyio
async def test_a_scrape_finds_no_gauge_of_a_dead_worker(folder: Path) -> None:
    (folder / f"gauge_livesum_{dead_process_id()}.db").touch()

    async with hold_files():
        assert names_in(folder) == set()


def test_gauges_of_dead_workers_are_dropped_and_those_of_living_ones_kept(folder: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = (f"gauge_livesum_{dead.pid}.db", f"gauge_livesum_{os.getpid()}.db", f"counter_{dead.pid}.db")
    for name in names:
        (folder / name).touch()
    drop_gauges_of_dead_workers()
    assert {file.name for file in folder.iterdir()} == set(names[1:])


def test_a_worker_that_nobody_has_waited_for_yet_is_as_dead_as_any(folder: Path) -> None:
    zombie = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    gauge = folder / f"gauge_livesum_{zombie.pid}.db"
    gauge.touch()
    drop_gauges_of_dead_workers()
    assert not gauge.exists()
    zombie.communicate()


@pytest.mark.anyio
async def test_without_a_folder_there_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    drop_gauges_of_dead_workers()
    take_over_totals()
    async with hold_files():
        pass
