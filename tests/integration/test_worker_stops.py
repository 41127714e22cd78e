"""Workers that stop before they serve: by SIGTERM, or because their supervisor died."""

import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.fakes.processes import is_running
from tests.integration.running_service import free_port, running_service, wait_until

pytestmark = pytest.mark.timeout(600)
ROOT = Path(__file__).parents[2]
LOADING_S = 600
"""Longer than any test waits."""
LOADS_FOR_LONG = f"""
import asyncio, sys, time
from contextlib import asynccontextmanager
import uvicorn
from prometheus_client import CollectorRegistry
from bento_service.http.in_flight import InFlightRequests
from bento_service.worker.lifecycle import Lifecycle
from bento_service.observability.metrics import Metrics
from bento_service.settings import Settings

@asynccontextmanager
async def open_pipeline(settings, metrics):
    def load():
        print("loading", flush=True)
        time.sleep({LOADING_S})
    await asyncio.to_thread(load)
    yield

lifecycle = Lifecycle(Settings(), Metrics(CollectorRegistry()), open_pipeline=open_pipeline)

async def app(scope, receive, send):
    assert (await receive())["type"] == "lifespan.startup"
    await lifecycle.start(InFlightRequests(app))
    await send({{"type": "lifespan.startup.complete"}})
    await receive()
    await lifecycle.stop()
    await send({{"type": "lifespan.shutdown.complete"}})

uvicorn.run(app, port=int(sys.argv[1]))
"""


def test_sigterm_stops_a_worker_while_its_models_load() -> None:
    argv = (sys.executable, "-c", LOADS_FOR_LONG, str(free_port()))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=ROOT, text=True) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "loading\n"
        worker.send_signal(signal.SIGTERM)
        try:
            assert worker.wait(60) in (0, -signal.SIGTERM)
        finally:
            worker.kill()


def is_worker(process: psutil.Process) -> bool:
    try:
        return "_bentoml_impl.worker.service" in process.cmdline()
    except psutil.NoSuchProcess:
        return False


def test_a_worker_whose_supervisor_was_killed_while_it_starts_exits(bentoml_home: Path, tmp_path: Path) -> None:
    with running_service(tmp_path, models="efficientnet_lite0", workers=1, wait=False) as service:
        master = psutil.Process(service.process.pid)
        wait_until(lambda: any(is_worker(child) for child in master.children()))
        [worker] = [child for child in master.children() if is_worker(child)]
        service.process.kill()
        service.process.wait()
        try:
            wait_until(lambda: not is_running(worker.pid))
        finally:
            with suppress(psutil.NoSuchProcess):
                worker.kill()
        assert "The process that started this worker has ended" in service.log.read_text()
