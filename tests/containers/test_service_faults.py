"""The service's container when a worker dies or hangs, when it is stopped, and when its disk is full."""

import json
import re
from pathlib import Path

import pytest

from tests.containers.clients import BROKEN, load
from tests.containers.docker_cli import HARDENED, SERVICE_IMAGE, Container, container, docker, volume, wait_until

# Several waits in each, none of which is to be cut short on a slow machine.
pytestmark = pytest.mark.timeout(1800)

ONE_MODEL = ("--env", "LIGHTBOX_MODELS=efficientnet_lite0")
TWO_WORKERS = ("--env", "LIGHTBOX_WORKERS=2")
CLIENTS = 8
DRAINED_CLIENTS = 16
PATIENCE_S = 240
"""For a worker that starts, and loads its model, while others keep the CPUs busy."""
# A tmpfs of Docker's own would be root's, and nothing written to it at all.
SMALL = '"volume-opt=o=size=320k,uid=1034,gid=1034"'
OUTCOMES = """
import json, sqlite3
rows = sqlite3.connect("/data/journal.sqlite3").execute("SELECT request_id, outcome FROM receipts")
print(json.dumps(dict(rows.fetchall())))
"""


def worker_ids(running: Container) -> set[str]:
    # The brackets keep grep's own command line from matching.
    find = "grep -ls '[_]bentoml_impl.worker.service' /proc/[0-9]*/cmdline || true"
    return set(re.findall(r"/proc/(\d+)/", running.run("sh", "-c", find)))


def newest_check(running: Container) -> str:
    """The last output of the container's health check."""
    return str(running.inspect()["State"]["Health"]["Log"][-1]["Output"])


def outcomes(data_volume: str) -> dict[str, str]:
    """The outcome of each request in a volume's journal, by its id."""
    mount = ("--volume", f"{data_volume}:/data")
    printed = docker("run", "--rm", *mount, SERVICE_IMAGE, "python", "-c", OUTCOMES)
    return dict(json.loads(printed))


def test_a_killed_worker_is_replaced_and_the_other_loses_nothing(jpegs: list[Path]) -> None:
    with container(SERVICE_IMAGE, *HARDENED, *ONE_MODEL, *TWO_WORKERS) as running:
        running.wait_health("healthy")
        before = worker_ids(running)
        with load(running.url, jpegs, clients=CLIENTS) as asking:
            wait_until(lambda: asking.count() > 50, "the load is running")
            running.run("sh", "-c", f"kill -9 {min(before)}")
            wait_until(lambda: len(worker_ids(running) - before) == 1, "another worker has come", PATIENCE_S)
            wait_until(lambda: running.metric("lightbox_workers_ready") == 2, "both workers are ready", PATIENCE_S)
            answered = asking.count()
            wait_until(lambda: asking.count() > answered + 50, "the load goes on")

        # Only what the dead worker held is lost; whoever asks again reaches one that serves.
        assert len(asking.failures()) <= CLIENTS, asking.failures()
        assert {answer.status for answer in asking.failures()} <= {BROKEN}
        running.wait_health("healthy")


def test_a_worker_that_cannot_load_leaves_requests_to_the_other(
    jpegs: list[Path],
) -> None:
    model, hidden = "/app/bento/models/lightbox-efficientnet_lite0", "/app/bento/hidden"
    with container(SERVICE_IMAGE, *ONE_MODEL, *TWO_WORKERS) as running:
        running.wait_health("healthy")
        before = worker_ids(running)
        docker("exec", "--user", "0", running.name, "mv", model, hidden)
        running.run("sh", "-c", f"kill -9 {min(before)}")
        running.wait_health("unhealthy")
        wait_until(lambda: "Another worker is started in 30 s" in running.logs(), "its load has failed", PATIENCE_S)
        with load(running.url, jpegs) as asking:
            wait_until(lambda: asking.count() > 50, "the other answers")
        docker("exec", "--user", "0", running.name, "mv", hidden, model)

        assert asking.failures() == []
        # The pause before another try is 30 s at first, and twice that after each that failed before.
        wait_until(lambda: running.health == "healthy", "the worker has come back", 2 * PATIENCE_S)


def test_a_hanging_worker_makes_the_container_unhealthy() -> None:
    with container(SERVICE_IMAGE, *HARDENED, *ONE_MODEL, *TWO_WORKERS) as running:
        running.wait_health("healthy")
        hung = min(worker_ids(running))
        running.run("sh", "-c", f"kill -STOP {hung}")

        running.wait_health("unhealthy")
        # The supervisor kills it after a minute. Until then the check names it; afterwards it names the one that loads.
        wait_until(lambda: newest_check(running).startswith("1 of 2 workers serve; worker"), "the check names a worker")
        wait_until(lambda: f"(pid {hung}) was killed because it hung" in running.logs(), "it is killed", PATIENCE_S)
        running.wait_health("healthy")
        assert len(worker_ids(running) - {hung}) == 2


def test_a_container_with_too_little_memory_says_so_and_ends() -> None:
    # Without health checks: one that starts while the kernel still frees the killed worker gets the supervisor killed.
    options = ("--memory", "512m", "--memory-swap", "512m", "--no-healthcheck", "--env", "LIGHTBOX_WORKERS=1")
    with container(SERVICE_IMAGE, *options, publish=False) as small:
        docker("wait", small.name)

        assert small.exit_code == 1
        assert small.logs().count("was ended by SIGKILL (out of memory?)") == 4
        assert "No worker gets ready: 3 in a row died before" in small.logs()


def test_a_stopping_container_answers_and_records_admitted_requests(jpegs: list[Path]) -> None:
    with volume() as data:
        options = (*HARDENED, *ONE_MODEL, *TWO_WORKERS, "--volume", f"{data}:/data")
        with container(SERVICE_IMAGE, *options) as running:
            # The first worker answers while the other is still on its way, which would have nothing to drain.
            running.wait_health("healthy")
            with load(running.url, jpegs, clients=DRAINED_CLIENTS) as asking:
                wait_until(lambda: asking.count() > 100, "the load is running")
                running.stop()
            assert running.exit_code == 0
            assert running.logs().count("Drained: every admitted request is answered") == 2
        stored = outcomes(data)

    answered = {answer.request_id for answer in asking.answers if answer.status == 200}
    assert {request_id for request_id, outcome in stored.items() if outcome == "ok"} == answered
    assert {answer.status for answer in asking.failures()} <= {BROKEN, 503}
    # Once it is gone every request breaks; before, no more than one of each client, as a worker closes its connection.
    assert len(asking.broken_off()) <= DRAINED_CLIENTS
    assert set(stored.values()) <= {"ok", "draining", "overloaded"}


def test_a_full_disk_costs_receipts_and_no_answer(jpegs: list[Path]) -> None:
    disk = ("--mount", f"type=volume,target=/data,volume-opt=type=tmpfs,volume-opt=device=tmpfs,{SMALL}")
    small = ("--env", "LIGHTBOX_JOURNAL_BUFFER_ROWS=200", "--env", "LIGHTBOX_CACHE_BYTES=0")
    with container(SERVICE_IMAGE, *HARDENED, *ONE_MODEL, *disk, *small) as running:
        running.wait_ready()
        with load(running.url, jpegs) as asking:
            # First of all: where the journal's thread gets no turn for a while, the buffer is full before the disk is.
            wait_until(lambda: "database or disk is full" in running.logs(), "the disk is full", PATIENCE_S)
            dropped = running.metric("lightbox_journal_rows_dropped_total")
            wait_until(
                lambda: running.metric("lightbox_journal_rows_dropped_total") > dropped,
                "receipts are dropped",
                PATIENCE_S,
            )
            answered = asking.count()
            wait_until(lambda: asking.count() > answered + 100, "images are classified all the same", PATIENCE_S)

        assert asking.failures() == []
        assert "Receipts wait in memory" in running.logs()


def test_a_container_whose_master_is_killed_ends() -> None:
    with container(SERVICE_IMAGE, "--init", *ONE_MODEL) as running:
        running.wait_ready()
        # With `--init` the master is not the first process, which no signal of its own namespace kills.
        master = running.run("sh", "-c", "cat /proc/1/task/1/children").split()[0]
        # With it ends the container, at times before the shell has reported.
        running.run("sh", "-c", f"kill -9 {master}", is_checked=False)

        wait_until(lambda: not running.is_running, "the container has ended")
        assert running.exit_code == 137
