"""A worker's life: loading, ready, draining, gone."""

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from bento_service.bootstrap import Lightbox, open_lightbox
from bento_service.domain import ServiceState, ServiceStatus
from bento_service.errors import LightboxError, NotReadyError
from bento_service.http.budget import ByteBudget
from bento_service.http.edge import Edge
from bento_service.metrics import Metrics, drop_gauges_of_dead_workers
from bento_service.settings import Settings

logger = logging.getLogger(__name__)

_RETRY_WHILE_LOADING_S = 2.0


class Lifecycle:
    """Loads in the background, so that probes and requests get an answer meanwhile, and drains on SIGTERM.

    Used on one event loop; `state` may be read from any thread.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self._budget = ByteBudget(settings.max_inflight_bytes)
        self._lightbox: Lightbox | None = None
        self._failure: str | None = None
        self._loading: asyncio.Task[None] | None = None
        self._started_s = time.monotonic()

    @property
    def state(self) -> ServiceState:
        """Where the worker stands."""
        if self._failure is not None:
            return ServiceState.FAILED
        if self._lightbox is None:
            return ServiceState.LOADING
        return ServiceState.DRAINING if self._lightbox.classifier.is_draining else ServiceState.READY

    def lightbox(self) -> Lightbox:
        """Return the wired parts.

        Raises:
            NotReadyError: Still loading, or loading failed.
        """
        if self._lightbox is not None:
            return self._lightbox
        if self._failure is not None:
            raise NotReadyError(
                f"This worker could not start: {self._failure}", retry_after_s=_RETRY_WHILE_LOADING_S * 5
            )
        raise NotReadyError(
            "The models are still loading and warming up. Try again after the time in Retry-After.",
            retry_after_s=_RETRY_WHILE_LOADING_S,
        )

    def edge(self) -> Edge:
        """Return what requests are answered with.

        Raises:
            NotReadyError: Still loading, or loading failed.
        """
        lightbox = self.lightbox()
        return Edge(lightbox.classifier, lightbox.journal, self.settings, self._budget)

    def status(self) -> ServiceStatus:
        """Describe how the worker is doing, also while it loads."""
        if self._lightbox is not None:
            return self._lightbox.status()
        return ServiceStatus(
            state=self.state,
            device=None,
            engine="",
            workers=self.settings.workers,
            lanes=0,
            decode_threads=0,
            queue_depth=0,
            batch_ceiling={},
            predicted_wait_ms=0.0,
            target_p99_ms=self.settings.target_p99_ms,
            uptime_s=time.monotonic() - self._started_s,
            journal={},
        )

    def start(self) -> None:
        """Begin to load; returns at once."""
        # BentoML's log shows warnings only of loggers other than its own.
        logging.getLogger("bento_service").setLevel(self.settings.log_level)
        drop_gauges_of_dead_workers()
        self._drain_on_sigterm()
        self._loading = asyncio.create_task(self._load())

    async def stop(self) -> None:
        """Finish what is admitted, flush the journal, release the models."""
        if self._loading is not None:
            await self._loading
        if self._lightbox is not None:
            await self._lightbox.close()
            logger.info("Drained: every admitted request is answered and in the journal.")

    async def _load(self) -> None:
        try:
            self._lightbox = await open_lightbox(self.settings, self.metrics)
        except LightboxError as error:
            self._failure = error.message
            logger.critical("This worker cannot serve: %s", error.message)
        # Whatever a library raises while it loads, the probes have to show it; a lost task would not.
        except Exception as error:
            self._failure = f"{type(error).__name__}: {error}"
            logger.exception("This worker cannot serve")

    def _drain_on_sigterm(self) -> None:
        """Stop admitting as the signal comes, ahead of the server's own handler, which stops the rest."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._chain(signal.getsignal(number)))

    def _chain(
        self, previous: "Callable[[int, FrameType | None], object] | int | None"
    ) -> "Callable[[int, FrameType | None], None]":
        def handle(number: int, frame: FrameType | None) -> None:
            if self._lightbox is not None:
                self._lightbox.classifier.stop_admitting()
            if callable(previous):
                previous(number, frame)

        return handle
