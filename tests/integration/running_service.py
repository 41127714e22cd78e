"""The real service, in its own process, as an operator starts it."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 40.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class RunningService:
    process: "subprocess.Popen[bytes]"
    url: str
    data_dir: Path
    log: Path

    def is_answering(self, path: str) -> bool:
        try:
            return requests.get(self.url + path, timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    def wait_for(self, path: str) -> None:
        """Waits until a path answers 200; fails with the service's log if its process ends instead."""
        give_up_s = time.monotonic() + START_TIMEOUT_S
        tick = threading.Event()
        while not self.is_answering(path):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < give_up_s, self.log.read_text()
            tick.wait(0.05)

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT_S)


@contextmanager
def running_service(folder: Path, *, wait: bool = True, **settings: object) -> Iterator[RunningService]:
    """Starts `lightbox serve` on a free port with `LIGHTBOX_<NAME>` settings; stops it at the end."""
    port = free_port()
    log = folder / "service.log"
    environment: Mapping[str, str] = {
        **os.environ,
        "LIGHTBOX_DATA_DIR": str(folder),
        "LIGHTBOX_PORT": str(port),
        **{f"LIGHTBOX_{name.upper()}": str(value) for name, value in settings.items()},
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "bento_service.cli", "serve"], env=environment, stdout=output, stderr=output
        )
    service = RunningService(process, f"http://127.0.0.1:{port}", folder, log)
    try:
        if wait:
            service.wait_for("/readyz")
        yield service
    finally:
        if process.poll() is None:
            try:
                service.terminate()
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until(is_true: Callable[[], bool], timeout_s: float = 15.0) -> None:
    """Waits until something can be seen from outside."""
    give_up_s = time.monotonic() + timeout_s
    tick = threading.Event()
    while not is_true():
        assert time.monotonic() < give_up_s, "it did not happen in time"
        tick.wait(0.05)
