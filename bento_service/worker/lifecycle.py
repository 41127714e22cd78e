"""A worker's life: loading, ready, draining, gone."""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from functools import partial

from bento_service.domain.service import ServiceState, ServiceStatus
from bento_service.errors import LightboxError, NotReadyError
from bento_service.http.in_flight import InFlightRequests
from bento_service.http.requests.body import ByteBudget
from bento_service.http.state import AppState
from bento_service.observability.metrics import Metrics
from bento_service.pipeline.pipeline import Leftovers, Pipeline
from bento_service.settings import Settings
from bento_service.worker.accept_gate import FIRST_PAUSE_S, AcceptGate, LoadRetries
from bento_service.worker.heartbeat import Heartbeat, choose_folder
from bento_service.worker.parent_process import exit_with_parent, read_parent_pid
from bento_service.worker.shutdown import GracefulShutdown
from bento_service.worker.tuning import tune_runtime
from bento_service.worker.workers_folder import join_folder

logger = logging.getLogger(__name__)

_RETRY_WHILE_LOADING_S = 2.0

OpenPipeline = Callable[[Settings, Metrics], Awaitable[Pipeline]]
"""Loads and wires a worker's parts; see `bento_service.bootstrap.open_pipeline`."""


class Lifecycle:
    """Loads in the background, so that probes and requests get an answer meanwhile, and drains on SIGTERM.

    The time to drain runs from the signal. The server, which would close its socket and every idle connection at once,
    learns of the signal when what was open is answered; until then whoever comes is refused in words. Used on one event
    loop; `state` may be read from any thread.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        *,
        open_pipeline: OpenPipeline,
        settle: Callable[[], None] = tune_runtime,
        retry_failed_s: float = FIRST_PAUSE_S,
    ) -> None:
        self.settings = settings
        self.metrics = metrics
        self._open_pipeline = open_pipeline
        self._settle = settle
        self._budget = ByteBudget(settings.max_inflight_bytes)
        self._pipeline: Pipeline | None = None
        self._has_failed = False
        self._loading: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._beating: asyncio.Task[None] | None = None
        self._giving_up: asyncio.Task[None] | None = None
        self._master_id = read_parent_pid(os.environ)
        folder = choose_folder(settings.heartbeat_dir, os.environ, master_id=self._master_id)
        self._heartbeat = Heartbeat(folder, workers=settings.worker_count, state=lambda: self.state)
        self._turn = AcceptGate(
            self._heartbeat,
            LoadRetries(folder, master_id=self._master_id),
            state=lambda: self.state,
            is_leaving=lambda: self._drain_by_s is not None,
            first_pause_s=retry_failed_s,
        )
        self._requests: InFlightRequests | None = None
        self._drain_by_s: float | None = None
        self._ended_requests = 0
        self._started_s = time.monotonic()

    @property
    def state(self) -> ServiceState:
        """Where the worker stands."""
        if self._has_failed:
            return ServiceState.FAILED
        if self._pipeline is None:
            return ServiceState.LOADING
        return ServiceState.DRAINING if self._pipeline.classifier.is_draining else ServiceState.READY

    def pipeline(self) -> Pipeline:
        """Return the wired parts.

        Raises:
            NotReadyError: Still loading, or loading failed.
        """
        if self._pipeline is not None:
            return self._pipeline
        if self._has_failed:
            # Why is the operator's business: it may name paths, hosts and versions.
            raise NotReadyError(
                "This worker could not start; its log says why.", retry_after_s=_RETRY_WHILE_LOADING_S * 5
            )
        raise NotReadyError(
            "The models are still loading and warming up. Try again after the time in Retry-After.",
            retry_after_s=_RETRY_WHILE_LOADING_S,
        )

    def edge(self) -> AppState:
        """Return what requests are answered with.

        Raises:
            NotReadyError: Still loading, or loading failed.
        """
        pipeline = self.pipeline()
        return AppState(pipeline.classifier, pipeline.journal.reader, self.settings, self._budget)

    def status(self) -> ServiceStatus:
        """Describe how the worker is doing, also while it loads."""
        if self._pipeline is not None:
            return self._pipeline.status()
        return ServiceStatus(
            state=self.state,
            device=None,
            engine="",
            workers=self.settings.worker_count,
            lanes=0,
            decode_threads=0,
            queue_depth=0,
            batch_ceiling={},
            predicted_wait_ms=0.0,
            target_p99_ms=self.settings.target_p99_ms,
            uptime_s=time.monotonic() - self._started_s,
            journal={},
        )

    def start(self, requests: InFlightRequests) -> None:
        """Begin to load; returns at once. The open `requests` are ended where a drain's time is up."""
        # BentoML's log shows warnings only of loggers other than its own.
        logging.getLogger("bento_service").setLevel(self.settings.log_level)
        self.metrics.begin_worker(
            master_id=self._master_id,
            workers=self.settings.worker_count,
            models=self.settings.models,
            max_queue_images=self.settings.max_queue_items,
            journal_buffer_rows=self.settings.journal_buffer_rows,
        )
        if self.settings.heartbeat_dir is not None:
            join_folder(self.settings.heartbeat_dir, os.environ)
        self._requests = requests
        loop = asyncio.get_running_loop()
        GracefulShutdown(
            requests,
            begin_drain=partial(self._begin_drain, loop),
            is_serving=lambda: self._pipeline is not None,
            stop_accepting=self._stop_accepting,
        ).handle_signals(loop)
        self._loading = asyncio.create_task(self._load())
        self._watching = asyncio.create_task(exit_with_parent(self._master_id))
        self._beating = asyncio.create_task(self._heartbeat.keep())

    async def wait_for_turn(self) -> None:
        """Return once this worker may accept connections; the server does so as soon as its startup hook is over.

        Raises:
            NotReadyError: It could not load, and others serve. The process ends with that, and BentoML starts another.
        """
        if self._loading is not None:
            await self._turn.wait(self._loading)
            self._giving_up = asyncio.create_task(self._turn.give_up(self._loading))

    def is_ready(self) -> bool:
        """Whether requests are served, whichever worker they reach: by this one, and by all that accept connections."""
        return self.state is ServiceState.READY and not any(
            beat.is_accepting and beat.state is ServiceState.LOADING for beat in self._heartbeat.read_others()
        )

    async def stop(self) -> None:
        """Finish what is admitted, flush the journal, release the models."""
        for watching in (self._watching, self._giving_up):
            if watching is not None:
                watching.cancel()
        loop = asyncio.get_running_loop()
        drain_by_s = self._begin_drain(loop)
        if self._loading is not None and not self._loading.done():
            # Nothing is admitted and nothing to be flushed. No thread that loads can be stopped; they end with the
            # process, by the signal that uvicorn raises again once it has shut down.
            self._loading.cancel()
            logger.info("Stopped while the models were loading.")
        if self._pipeline is not None:
            leftovers = await self._pipeline.close(drain_s=max(0.0, drain_by_s - loop.time()))
            self._report(leftovers)
        if self._beating is not None:
            self._beating.cancel()

    async def _load(self) -> None:
        try:
            pipeline = await self._open_pipeline(self.settings, self.metrics)
            self._settle()
            self._pipeline = pipeline
            if self._drain_by_s is not None:
                self._pipeline.classifier.stop_admitting()
            self.metrics.observe_readiness(self.state is ServiceState.READY)
        except LightboxError as error:
            self._has_failed = True
            logger.critical("This worker cannot serve: %s", error.message)
        # Whatever a library raises while it loads, the probes have to show it; a lost task would not.
        except Exception:
            self._has_failed = True
            logger.exception("This worker cannot serve")
        self._turn.observe_load(has_failed=self._has_failed)
        self._heartbeat.renew()

    def _begin_drain(self, loop: asyncio.AbstractEventLoop) -> float:
        """Stop admitting, and let the drain's time run from the first call on; return when it ends, by the loop."""
        if self._drain_by_s is None:
            self._drain_by_s = loop.time() + self.settings.drain_timeout_s
            loop.call_at(self._drain_by_s, self._give_up)
        if self._pipeline is not None:
            self._pipeline.classifier.stop_admitting()
        self.metrics.observe_readiness(False)
        self._heartbeat.renew()
        return self._drain_by_s

    def _stop_accepting(self) -> None:
        self._heartbeat.is_accepting = False
        self._heartbeat.renew()

    def _give_up(self) -> None:
        if self._pipeline is not None:
            self._pipeline.classifier.give_up()
        if self._requests is not None:
            self._ended_requests = self._requests.end_all()

    def _report(self, leftovers: Leftovers) -> None:
        if leftovers == Leftovers(0, 0) and not self._ended_requests:
            logger.info("Drained: every admitted request is answered and in the journal.")
            return
        logger.warning(
            "Stopped with work left undone after at most %g s (LIGHTBOX_DRAIN_TIMEOUT_S): "
            "%d open requests ended, %d admitted images unanswered, %d receipts lost.",
            self.settings.drain_timeout_s,
            self._ended_requests,
            leftovers.unanswered,
            leftovers.unwritten,
        )
