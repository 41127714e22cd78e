"""A supervisor over workers that are small scripts: no BentoML service, no models."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bento_service.domain.service import ServiceState
from bento_service.worker.shared_folder import StatusTable
from tests.integration.running_service import free_port, wait_until

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60
SUPERVISOR = """
import logging, sys
from pathlib import Path
from circus.sockets import CircusSocket
from circus.watcher import Watcher
from bento_service.settings import Settings
from bento_service.worker.supervisor import Supervisor

folder, shared, workers, port, check_s, script = sys.argv[1:]
logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stdout, force=True)
watcher = Watcher("service", sys.executable, ["-ISc", script, "$(circus.wid)"], numprocesses=int(workers),
                  use_sockets=True, copy_env=True, stop_children=True, graceful_timeout=86400)
Supervisor(
    [watcher], f"ipc://{folder}/commands", f"ipc://{folder}/events",
    sockets=[CircusSocket(host="127.0.0.1", port=int(port))],
    settings=Settings(heartbeat_dir=Path(shared), workers=int(workers), drain_timeout_s=600), check_s=float(check_s),
).start()
"""
WORKER = """
import os, signal, struct, sys, time
from pathlib import Path
folder = Path(os.environ["LIGHTBOX_SHARED_FOLDER"])
table = os.open(folder / "workers", os.O_RDWR)
number = int(sys.argv[1])

def say(state, is_accepting=True):
    status = struct.pack("<dBB6x", time.time(), ["loading", "ready", "draining"].index(state), is_accepting)
    os.pwrite(table, status, 16 * number)

def is_anyone_heard():
    return any(os.pread(table, 255 * 16, 16))

def is_first():
    try:
        (folder / "first").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True

def beat_until_told_to_stop(after=lambda: None):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        while True:
            say("ready")
            time.sleep(0.01)
    finally:
        after()

"""


@dataclass
class Supervised:
    """A supervisor that runs."""

    process: "subprocess.Popen[bytes]"
    port: int
    folder: Path
    log: Path

    def ready(self) -> list[int]:
        """The numbers of the workers whose last status is `ready`."""
        tables = [StatusTable.open(table) for table in self.folder.glob("lightbox-*/workers")]
        read = {number: table.read(number) for table in tables for number in (1, 2)}
        return [number for number, status in read.items() if status and status.state is ServiceState.READY]

    def worker(self) -> psutil.Process:
        """The only worker."""
        [worker] = psutil.Process(self.process.pid).children()
        return worker

    def wait_until(self, is_true: Callable[[], bool]) -> None:
        """Wait for something that is to happen while the supervisor runs."""

        def is_seen() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return is_true()

        wait_until(is_seen, PATIENCE_S)

    def wait_for_line(self, words: str) -> None:
        self.wait_until(lambda: words in self.log.read_text())

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(PATIENCE_S)


@contextmanager
def supervised(
    folder: Path, script: str, *, workers: int = 1, check_s: float = 0.1, shared: Path | None = None
) -> Iterator[Supervised]:
    """Start a supervisor whose workers run `script`, behind the definitions of `WORKER`; kill it at the end."""
    log, port = folder / "log", free_port()
    options = (str(folder), str(shared or folder), str(workers), str(port), str(check_s))
    arguments = (*options, WORKER + script)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISOR, *arguments], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield Supervised(process, port, folder, log)
    finally:
        left = psutil.Process(process.pid).children() if process.poll() is None else []
        for each in left:
            each.kill()
        process.kill()
        process.wait()
