"""The real service under load: nothing but 200 and 429, nothing lost, memory level, and a drain that loses nothing."""

import http.client
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from bento_service.journal.store import SqlJournalStore
from tests.integration.callers import calling
from tests.integration.running_service import RunningService, running_service, wait_until

CONNECTIONS = 64
DURATION_S = 16
SETTLED_S = 7
TIMEOUT_S = 30
MAX_GROWTH_BYTES = 50_000_000
SCRIPT = Path(__file__).parents[2] / "bench" / "classify.lua"


@pytest.fixture
def fresh_service(bentoml_home: Path, tmp_path: Path) -> Iterator[RunningService]:
    with running_service(tmp_path) as running:
        yield running


def resident_bytes(service: RunningService) -> int:
    parent = psutil.Process(service.process.pid)
    return sum(process.memory_info().rss for process in (parent, *parent.children(recursive=True)))


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
@pytest.mark.timeout(600)
def test_64_connections_get_200_or_429_at_level_memory(fresh_service: RunningService, jpegs: list[Path]) -> None:
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{DURATION_S}s", "--timeout", f"{TIMEOUT_S}s", "-s", str(SCRIPT)]
    wrk = subprocess.Popen(
        [*command, f"{fresh_service.url}/v1/classify", "--", str(jpegs[0].parent)], stdout=subprocess.PIPE, text=True
    )
    with pytest.raises(subprocess.TimeoutExpired):
        wrk.wait(SETTLED_S)
    settled_bytes = resident_bytes(fresh_service)
    # Under load again, unless the machine stood still for its last seconds.
    with suppress(subprocess.TimeoutExpired):
        wrk.wait(DURATION_S - SETTLED_S - 2)
    growth_bytes = resident_bytes(fresh_service) - settled_bytes
    output, _ = wrk.communicate(timeout=4 * TIMEOUT_S)
    statuses = {int(status): int(count) for status, count in re.findall(r"status (\d+) (\d+)", output)}

    print(f"{statuses}; {settled_bytes:,} bytes after {SETTLED_S} s, {growth_bytes:+,} more after {DURATION_S} s")
    assert set(statuses) <= {200, 429}, output
    assert statuses[200] > 0
    assert "lost connect=0 read=0 write=0 timeout=0" in output
    assert growth_bytes < MAX_GROWTH_BYTES


def journal_counts(data_dir: Path) -> Mapping[str, int]:
    now = datetime.now(UTC)
    store = SqlJournalStore(f"sqlite:///{data_dir / 'journal.sqlite3'}")
    history = store.read_history(since=now - timedelta(hours=1), until=now, buckets=1)
    store.close()
    return history.total.outcomes


@pytest.mark.timeout(600)
def test_sigterm_under_load_loses_no_admitted_request(fresh_service: RunningService, jpegs: list[Path]) -> None:
    address = urlsplit(fresh_service.url)
    assert address.hostname
    connections = [
        http.client.HTTPConnection(address.hostname, address.port, timeout=TIMEOUT_S) for _ in range(CONNECTIONS)
    ]
    with calling(connections, [path.read_bytes() for path in jpegs]) as callers:
        wait_until(lambda: sum(len(caller.statuses) for caller in callers) > 500)
        exit_code = fresh_service.terminate()

    outcomes = fresh_service.journal_outcomes()
    counted = journal_counts(fresh_service.data_dir)
    statuses = {request_id: status for caller in callers for request_id, status in caller.statuses.items()}
    answered = {request_id for request_id, status in statuses.items() if status == 200}
    assert set(statuses.values()) <= {200, 429, 503}
    assert {request_id for request_id, outcome in outcomes.items() if outcome == "ok"} == answered
    assert set(outcomes.values()) <= {"ok", "overloaded", "draining"}
    # Rejections beyond some a second leave no receipt of their own, and are counted all the same.
    assert set(outcomes) <= set(statuses)
    assert counted["ok"] == len(answered)
    by_status = Counter(statuses.values())
    assert counted.get("overloaded", 0) == by_status[429]
    # The process that started the workers refuses what they do not take in time, and has no journal.
    assert counted.get("draining", 0) <= by_status[503]
    assert not {caller.broken for caller in callers} & set(outcomes)
    assert exit_code == 0
