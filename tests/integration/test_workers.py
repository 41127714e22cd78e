"""Two workers behind one port: both answer, one that is killed comes back, and SIGTERM drains both."""

import http.client
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from tests.fakes.processes import is_running
from tests.integration.callers import PATIENCE_S, calling
from tests.integration.new_connections import new_connections
from tests.integration.running_service import RunningService, running_service, wait_until

WORKERS = 2
CONNECTIONS_A_WORKER = 4
NEW_CLIENTS = 8
SETTINGS: Mapping[str, Any] = {
    "workers": WORKERS,
    "models": "efficientnet_lite0",
    # However slow the machine is, nobody is rejected for load, and an upload may stay as it is for a whole test.
    "target_p99_ms": 60_000,
    "receive_timeout_s": 600,
}
pytestmark = pytest.mark.timeout(1200)


@dataclass
class Line:
    """One connection that stays open, and the worker that accepted it."""

    connection: http.client.HTTPConnection
    worker: int

    def status_of(self, path: str) -> int | None:
        """What the worker answers; None where it has closed the connection, as it does with one idle for seconds."""
        try:
            self.connection.request("GET", path)
            response = self.connection.getresponse()
            response.read()
            return response.status
        except (OSError, http.client.HTTPException):
            return None


def worker_ids(service: RunningService) -> set[int]:
    return {child.pid for child in psutil.Process(service.process.pid).children() if is_running(child.pid)}


def owner_of(connection: http.client.HTTPConnection, workers: set[int]) -> int:
    """The worker that holds the other end."""
    port = connection.sock.getsockname()[1]
    for worker in workers:
        remotes = [held.raddr for held in psutil.Process(worker).net_connections("tcp") if held.raddr]
        if any(remote.port == port for remote in remotes):
            return worker
    raise LookupError(port)


def open_line(service: RunningService, workers: set[int]) -> Line:
    address = urlsplit(service.url)
    assert address.hostname
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=PATIENCE_S)
    connection.request("GET", "/v1/status")
    status = json.loads(connection.getresponse().read())
    assert status["workers"] == WORKERS
    return Line(connection, owner_of(connection, workers))


def open_lines(service: RunningService, workers: set[int], each: int) -> list[Line]:
    """Opens connections until every worker has so many, whichever is quicker to accept, and waits for their models.

    A worker that comes to one that serves accepts none before its model is warm.
    """
    lines: list[Line] = []
    give_up_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_s:
        line = open_line(service, workers)
        if sum(known.worker == line.worker for known in lines) < each:
            lines.append(line)
        else:
            line.connection.close()
        # Those that are open are asked meanwhile, so that none is idle.
        statuses = [known.status_of("/readyz") for known in lines]
        lines = [known for known, status in zip(lines, statuses, strict=True) if status is not None]
        if len(lines) == each * len(workers) and set(statuses) == {200}:
            return lines
    raise AssertionError(f"{len(lines)} connections, to {sorted({line.worker for line in lines})} only, or not ready")


def metric(service: RunningService, name: str) -> float:
    """The sum of a metric's samples over its labels, as a scrape sees it; there is one at least."""
    scrape = service.read_metrics()
    samples = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", scrape, flags=re.MULTILINE)
    assert samples, f"no {name} in {scrape[:2000]}"
    return sum(float(value) for value in samples)


@pytest.fixture(scope="module")
def bodies(jpegs: list[Path]) -> list[bytes]:
    return [path.read_bytes() for path in jpegs]


@pytest.fixture(scope="module")
def pair(bentoml_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("pair")
    with running_service(folder, heartbeat_dir=folder, **SETTINGS) as running:
        yield running


def test_both_workers_answer_and_a_scrape_adds_them_up(pair: RunningService, bodies: list[bytes]) -> None:
    counted_before = metric(pair, "lightbox_requests_total")
    lines = open_lines(pair, worker_ids(pair), CONNECTIONS_A_WORKER)
    with calling([line.connection for line in lines], bodies) as callers:
        wait_until(lambda: all(len(caller.statuses) >= 5 for caller in callers))

    answered = [status for caller in callers for status in caller.statuses.values()]
    assert set(answered) == {200}
    assert metric(pair, "lightbox_requests_total") - counted_before == len(answered)


def test_a_killed_worker_comes_back_and_costs_no_other_request(pair: RunningService, bodies: list[bytes]) -> None:
    killed, other = sorted(worker_ids(pair))
    upload = next(line for line in open_lines(pair, {killed, other}, 1) if line.worker == killed)
    upload.connection.putrequest("POST", "/v1/classify")
    upload.connection.putheader("Content-Length", "1000")
    upload.connection.endheaders(b"half an image")
    wait_until(lambda: metric(pair, "lightbox_queue_depth_images") == 1)
    # Opened last: one that is idle for seconds is closed.
    lines = open_lines(pair, {killed, other}, CONNECTIONS_A_WORKER)
    with calling([line.connection for line in lines], bodies) as callers:
        wait_until(lambda: all(caller.statuses for caller in callers))

        psutil.Process(killed).kill()
        # Seconds pass until the replacement has imported its libraries.
        wait_until(lambda: metric(pair, "lightbox_workers_ready") == WORKERS - 1)
        wait_until(lambda: len(worker_ids(pair) - {killed}) == WORKERS, PATIENCE_S)
        open_lines(pair, worker_ids(pair), 1)

    broken = {line.worker for line, caller in zip(lines, callers, strict=True) if caller.broken}
    assert broken == {killed}
    assert {status for caller in callers for status in caller.statuses.values()} == {200}
    assert metric(pair, "lightbox_queue_depth_images") == 0
    assert metric(pair, "lightbox_workers_ready") == metric(pair, "lightbox_workers") == WORKERS
    assert metric(pair, "lightbox_worker_starts_total") == WORKERS + 1
    # The replacement continues in the files of the killed one.
    assert len(list(pair.data_dir.glob("lightbox-*/series/counter_*.db"))) == WORKERS


def test_sigterm_drains_both_workers(bentoml_home: Path, tmp_path: Path, bodies: list[bytes]) -> None:
    with running_service(tmp_path, **SETTINGS) as service:
        lines = open_lines(service, worker_ids(service), CONNECTIONS_A_WORKER)
        with calling([line.connection for line in lines], bodies) as callers:
            wait_until(lambda: all(caller.statuses for caller in callers))
            with new_connections(service.url, clients=NEW_CLIENTS) as asked:
                wait_until(lambda: asked.answered() > NEW_CLIENTS)
                exit_code = service.terminate()
        outcomes = service.journal_outcomes()

    statuses = {request_id: status for caller in callers for request_id, status in caller.statuses.items()}
    answered = {request_id for request_id, status in statuses.items() if status == 200}
    assert exit_code == 0
    assert {request_id for request_id, outcome in outcomes.items() if outcome == "ok"} == answered
    assert set(outcomes.values()) <= {"ok", "draining"}
    assert set(statuses.values()) <= {200, 503}
    # New connections are answered until the service has ended, and refused afterwards.
    assert asked.broken() == {}
    assert asked.counts["refused"] == NEW_CLIENTS
