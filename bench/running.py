"""Starts a server as a child, waits until it is ready, and leaves nothing of it behind."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from bench.environments import PeerUnavailableError, find_python
from bench.models import store_environment
from bench.servers import Server
from bento_service.cli.launch import MarkedProcesses

ROOT = Path(__file__).parents[1]
_START_TIMEOUT_S = 90.0
_STOP_TIMEOUT_S = 20.0
_LEFTOVERS_TIMEOUT_S = 1.0
"""How long what a server started may stay after the server itself has left."""
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Running:
    """A server that is ready. `processes` are all of its processes, `process_id` is the first of them."""

    server: Server
    url: str
    processes: MarkedProcesses
    process_id: int
    log: Path

    @property
    def memory_bytes(self) -> int:
        """What all its processes hold together: each page counted once, shared ones in parts (PSS)."""
        return sum(_read_pss_bytes(process.pid) for process in self.processes.find())

    @property
    def master_bytes(self) -> int:
        """What the first process holds of that: where a server has workers, as a rule the one that starts them."""
        return _read_pss_bytes(self.process_id)


@contextmanager
def running(server: Server, folder: Path, variables: Mapping[str, str], *, workers: int = 1) -> Iterator[Running]:
    """Run a server on a free port until the end of the block.

    Args:
        server: What to run.
        folder: Where it keeps its log and what it writes.
        variables: For its environment, over everything else that it gets.
        workers: How many workers it is to have.

    Raises:
        PeerUnavailableError: It cannot be installed, or ended or answered nothing as it started.
    """
    python = find_python(server)
    port = find_free_port()
    processes = MarkedProcesses()
    environment = {
        **store_environment(),
        "PYTHONPATH": str(ROOT),
        "LIGHTBOX_DATA_DIR": str(folder),
        **server.environment(port, workers),
        **variables,
        **processes.environment,
    }
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{server.key}.log"
    with log.open("ab") as output:
        # A session of its own keeps the terminal's Ctrl-C from it: it is stopped below.
        process = subprocess.Popen(  # noqa: S603 - our own servers
            server.command(python, port),
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(process, server, url, log)
        yield Running(server, url, processes, process.pid, log)
    finally:
        _stop(process, processes)


def find_free_port() -> int:
    """Return a port of the loopback interface on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait_until_ready(process: "subprocess.Popen[bytes]", server: Server, url: str, log: Path) -> None:
    give_up_s = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < give_up_s:
        if process.poll() is not None:
            raise PeerUnavailableError(f"ended with exit code {process.returncode} as it started: {_last_line(log)}")
        try:
            if requests.get(url + server.ready_path, timeout=2).ok:
                return
        except requests.RequestException:
            """Not listening yet."""
        time.sleep(_POLL_S)  # a process that starts has no event to wait for
    raise PeerUnavailableError(f"was not ready within {_START_TIMEOUT_S:g} s: {_last_line(log)}")


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"


def _stop(process: "subprocess.Popen[bytes]", processes: MarkedProcesses) -> None:
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_S)
        give_up_s = time.monotonic() + _LEFTOVERS_TIMEOUT_S
        while processes.find() and time.monotonic() < give_up_s:
            time.sleep(_POLL_S)
    except subprocess.TimeoutExpired:
        """Killed below, as what is left is."""
    finally:  # also where another Ctrl-C interrupts the wait
        processes.send_signal(signal.SIGKILL)
        process.wait()


def _read_pss_bytes(process_id: int) -> int:
    try:
        lines = Path(f"/proc/{process_id}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has left
        return 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


@contextmanager
def on_cpu(cpu: int) -> Iterator[None]:
    """Keep this process, and what it starts meanwhile, on one CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
