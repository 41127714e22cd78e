"""The real service, in its own process, as an operator starts it."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
import sqlalchemy

START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 90.0
LIGHTBOX_SERVE = (sys.executable, "-m", "bento_service.cli.app", "serve")
BENTOML_SERVE = (sys.executable, "-m", "bentoml", "serve", "bento_service.service:LightboxService")
"""As a bento's container starts it: nothing of ours runs above the workers."""


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
        except requests.RequestException:
            return False

    def wait_for(self, path: str) -> None:
        """Waits until a path answers 200; fails with the service's log if its process ends instead."""
        give_up_s = time.monotonic() + START_TIMEOUT_S
        tick = threading.Event()
        while not self.is_answering(path):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < give_up_s, self.log.read_text()
            tick.wait(0.05)

    def read_metrics(self) -> str:
        """What Prometheus would read."""
        return requests.get(f"{self.url}/metrics", timeout=60).text

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT_S)

    def journal_outcomes(self) -> dict[str, str]:
        """What the journal says of each request, by its id."""
        engine = sqlalchemy.create_engine(f"sqlite:///{self.data_dir / 'journal.sqlite3'}")
        with engine.connect() as connection:
            rows = connection.execute(sqlalchemy.text("SELECT request_id, outcome FROM receipts")).all()
        engine.dispose()
        return {row.request_id: row.outcome for row in rows}


def make_home(folder: Path) -> Path:
    """A BentoML home in a folder, with the models of everybody's.

    Services of one home share BentoML's folder of metrics, and each start empties it.
    """
    home = folder / "bentoml"
    home.mkdir(exist_ok=True)
    if not (home / "models").exists():
        (home / "models").symlink_to(Path(os.environ["BENTOML_HOME"]) / "models")
    return home


@contextmanager
def running_service(
    folder: Path, *, argv: Sequence[str] = LIGHTBOX_SERVE, wait: bool = True, **settings: object
) -> Iterator[RunningService]:
    """Starts the service on a free port with `LIGHTBOX_<NAME>` settings; stops it at the end."""
    port = free_port()
    log = folder / "service.log"
    environment: Mapping[str, str] = {
        **os.environ,
        "BENTOML_HOME": str(make_home(folder)),
        "LIGHTBOX_DATA_DIR": str(folder),
        "LIGHTBOX_PORT": str(port),
        **{f"LIGHTBOX_{name.upper()}": str(value) for name, value in settings.items()},
    }
    with log.open("wb") as output:
        process = subprocess.Popen(argv, env=environment, stdout=output, stderr=output)
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


def wait_until(is_true: Callable[[], bool], timeout_s: float = 120.0) -> None:
    """Waits until something can be seen from outside."""
    give_up_s = time.monotonic() + timeout_s
    tick = threading.Event()
    while not is_true():
        assert time.monotonic() < give_up_s, "it did not happen in time"
        tick.wait(0.05)
