"""A worker without models, and what it meets: siblings, time that passes, the signal to stop."""

import asyncio
import json
import os
from pathlib import Path

from prometheus_client import CollectorRegistry
from starlette.types import Receive, Scope, Send

from bento_service.domain.service import ServiceState
from bento_service.errors import ModelLoadError
from bento_service.http.in_flight import InFlightRequests
from bento_service.observability.metrics import Metrics
from bento_service.pipeline.classifier import Classifier
from bento_service.pipeline.pipeline import Pipeline
from bento_service.settings import Settings
from bento_service.worker.heartbeat import Heartbeat
from bento_service.worker.lifecycle import Lifecycle
from tests.fakes.lightbox import FakeLightbox
from tests.fakes.pipeline import fake_clock


def _no_requests() -> InFlightRequests:
    async def answer_nothing(scope: Scope, receive: Receive, send: Send) -> None:
        """Nobody asks."""

    return InFlightRequests(answer_nothing)


def said_by_itself(folder: Path) -> dict[str, object]:
    """What the worker under test said last."""
    said: dict[str, object] = json.loads((folder / f"{os.getpid()}.json").read_text())
    return said


async def settle() -> None:
    """Lets the loop do what is due."""
    for _ in range(20):
        await asyncio.sleep(0)


async def let_pass(seconds: int) -> None:
    """Lets the loop do what is due in each of so many seconds."""
    for _ in range(seconds):
        fake_clock().advance(1)
        await settle()


class Sibling:
    """Another worker, which accepts connections."""

    def __init__(self, folder: Path, process_id: int) -> None:
        self._folder = folder
        self._process_id = process_id

    def say(self, state: ServiceState) -> None:
        heartbeat = Heartbeat(self._folder, workers=2, state=lambda: state, worker_id=self._process_id)
        heartbeat.is_accepting = True
        heartbeat.renew()


class Loading:
    """A worker whose models load until `is_loaded` is set."""

    def __init__(self, classifier: Classifier, folder: Path, *, retry_failed_s: float = 60) -> None:
        self.is_loaded = asyncio.Event()
        self._classifier = classifier
        self.lifecycle = Lifecycle(
            Settings(heartbeat_dir=folder.parent),
            Metrics(CollectorRegistry()),
            open_pipeline=self._open,
            settle=lambda: None,
            retry_failed_s=retry_failed_s,
        )
        self.lifecycle.start(_no_requests())

    async def _open(self, settings: Settings, metrics: Metrics) -> Pipeline:
        await self.is_loaded.wait()
        return FakeLightbox(self._classifier)


class Failing(Loading):
    """A worker whose models cannot be had."""

    async def _open(self, settings: Settings, metrics: Metrics) -> Pipeline:
        raise ModelLoadError("no such file", model="a")
