"""`lightbox up`, in its own process, as a person runs it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.integration.running_service import STOP_TIMEOUT_S, free_port, make_home


@dataclass(frozen=True)
class RunningUp:
    """`lightbox up`, ready: what it printed, where its servers are, and how long it took from the command on."""

    process: "subprocess.Popen[str]"
    printed: str
    service_url: str
    dashboard_url: str
    ready_after_s: float

    def interrupt(self) -> str:
        """Presses Ctrl-C and returns the rest of what it prints."""
        self.process.send_signal(signal.SIGINT)
        rest, _ = self.process.communicate(timeout=STOP_TIMEOUT_S)
        return rest


def start_up(folder: Path, *, port: int, dashboard_port: int, **environment: str) -> "subprocess.Popen[str]":
    """Starts it with one model; what it prints can be read as it comes."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "bento_service.cli.app", "up"),
            *("--port", str(port), "--dashboard-port", str(dashboard_port)),
        ],
        env={
            **os.environ,
            "BENTOML_HOME": str(make_home(folder)),
            "LIGHTBOX_DATA_DIR": str(folder),
            "LIGHTBOX_MODELS": "efficientnet_lite0",
            "PYTHONUNBUFFERED": "1",
            **environment,
        },
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


@contextmanager
def running_up(folder: Path) -> Iterator[RunningUp]:
    """Starts it on free ports, waits until both servers are ready, and stops it at the end if that was not done."""
    port, dashboard_port = free_port(), free_port()
    started_s = time.monotonic()
    process = start_up(folder, port=port, dashboard_port=dashboard_port)
    assert process.stdout is not None
    printed = ""
    for line in process.stdout:
        printed += line
        if line.startswith("Ctrl-C"):
            break
    try:
        assert process.poll() is None, printed
        urls = (f"http://127.0.0.1:{port}", f"http://127.0.0.1:{dashboard_port}")
        yield RunningUp(process, printed, *urls, ready_after_s=time.monotonic() - started_s)
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=STOP_TIMEOUT_S)
