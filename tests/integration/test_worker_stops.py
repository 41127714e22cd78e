"""How workers end before they serve."""

import signal
import subprocess
import sys
from pathlib import Path

from tests.integration.running_service import free_port

ROOT = Path(__file__).parents[2]
LOADING_S = 300
"""Longer than any test waits."""
LOADS_FOR_LONG = f"""
import asyncio, sys, time
import uvicorn
from prometheus_client import CollectorRegistry
from bento_service.http.open_requests import OpenRequests
from bento_service.lifecycle import Lifecycle
from bento_service.metrics import Metrics
from bento_service.settings import Settings

async def open_lightbox(settings, metrics):
    def load():
        print("loading", flush=True)
        time.sleep({LOADING_S})
    await asyncio.to_thread(load)

lifecycle = Lifecycle(Settings(), Metrics(CollectorRegistry()), open_lightbox=open_lightbox)

async def app(scope, receive, send):
    assert (await receive())["type"] == "lifespan.startup"
    lifecycle.start(OpenRequests(app))
    await lifecycle.wait_for_turn()
    await send({{"type": "lifespan.startup.complete"}})
    await receive()
    await lifecycle.stop()
    await send({{"type": "lifespan.shutdown.complete"}})

uvicorn.run(app, port=int(sys.argv[1]))
"""


def test_a_worker_whose_models_load_in_a_thread_leaves_as_it_is_told_to() -> None:
    argv = (sys.executable, "-c", LOADS_FOR_LONG, str(free_port()))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=ROOT, text=True) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "loading\n"
        worker.send_signal(signal.SIGTERM)
        try:
            assert worker.wait(20) in (0, -signal.SIGTERM)
        finally:
            worker.kill()
