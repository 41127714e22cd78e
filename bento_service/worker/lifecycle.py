"""The life of one worker: load, be ready, drain, exit."""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from functools import partial

from bento_service.domain.service import ServiceState, ServiceStatus
from bento_service.errors import LightboxError, NotReadyError
from bento_service.explain.explainer import Explainer
from bento_service.explain.heads import ClassHeads
from bento_service.http.in_flight import InFlightRequests
from bento_service.http.requests.body import ByteBudget
from bento_service.http.state import AppState
from bento_service.models.registry_control import RegistryControl
from bento_service.models.store import BentoModelStore
from bento_service.observability.metrics import Metrics
from bento_service.pipeline.wiring import Pipeline
from bento_service.settings import Settings
from bento_service.worker.registry_follower import RegistryFollower
from bento_service.worker.shared_folder import StatusTable
from bento_service.worker.shutdown import GracefulShutdown
from bento_service.worker.tuning import tune_runtime

logger = logging.getLogger(__name__)

RENEW_S = 1.0
"""How often a worker renews its status."""
_RETRY_WHILE_LOADING_S = 2.0
_CANNOT_SERVE = 3
"""Exit code of a worker that could not load; uvicorn's own for a start that fails."""

OpenPipeline = Callable[[Settings, Metrics], AbstractAsyncContextManager[Pipeline]]
"""Loads and wires a worker's parts, and closes them; see `bento_service.bootstrap.open_pipeline`."""


class Lifecycle:
    """Loads the models beside the server, and drains on SIGTERM. Used on one event loop.

    Where no other worker serves, this one accepts connections while it loads, so that probes and requests get an
    answer. Where others do, it loads first: they can answer meanwhile.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        *,
        open_pipeline: OpenPipeline,
        table: StatusTable | None = None,
        number: int = 1,
        tune: Callable[[], None] = tune_runtime,
        exit_process: Callable[[int], object] = os._exit,
    ) -> None:
        """Do nothing yet.

        Args:
            settings: The service's.
            metrics: Told when the worker starts, and whether it is ready.
            open_pipeline: Opens what the worker serves with.
            table: Shared with the other workers; one of its own if None.
            number: This worker's, in the table.
            tune: Called once the models are warm.
            exit_process: Ends the process at once, if the models cannot be loaded.
        """
        self.settings = settings
        self.metrics = metrics
        self._open_pipeline = open_pipeline
        self._table = table or StatusTable.create(None, workers=1)
        self._number = number
        self._tune = tune
        self._exit_process = exit_process
        self._budget = ByteBudget(settings.max_inflight_bytes)
        self._opened = AsyncExitStack()
        self._pipeline: Pipeline | None = None
        self._explainer: Explainer | None = None
        self._follower: RegistryFollower | None = None
        self._control: RegistryControl | None = None
        self._loading: asyncio.Task[None] | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._is_accepting = False
        self._requests: InFlightRequests | None = None
        self._drain_by_s: float | None = None
        self._ended_requests = 0
        self._started_s = time.monotonic()

    @property
    def state(self) -> ServiceState:
        """Where the worker stands."""
        if self._pipeline is None:
            return ServiceState.LOADING
        return ServiceState.DRAINING if self._pipeline.classifier.is_draining else ServiceState.READY

    def pipeline(self) -> Pipeline:
        """Return the wired parts, or raise `NotReadyError` while the models load."""
        if self._pipeline is None:
            raise NotReadyError(
                "The models are still loading and warming up. Try again after the time in Retry-After.",
                retry_after_s=_RETRY_WHILE_LOADING_S,
            )
        return self._pipeline

    def app_state(self) -> AppState:
        """Return what endpoints need, or raise `NotReadyError` while the models load."""
        pipeline = self.pipeline()
        if self._explainer is None:
            heads = ClassHeads(BentoModelStore(also=self.settings.model_store))
            self._explainer = Explainer(pipeline.classifier, heads)
        state = AppState(pipeline.classifier, pipeline.journal.reader, self.settings, self._budget, self._explainer)
        if self._follower is None:
            return replace(state, version_states=pipeline.models.states)
        return replace(
            state,
            control=self._control,
            deployments=self._follower.deployments,
            version_states=self._follower.states,
        )

    def status(self) -> ServiceStatus:
        """Describe how the worker is doing, also while it loads."""
        if self._pipeline is not None:
            return self._pipeline.status()
        return ServiceStatus(
            state=self.state,
            workers=self.settings.worker_count,
            target_p99_ms=self.settings.target_p99_ms,
            uptime_s=time.monotonic() - self._started_s,
        )

    async def start(self, requests: InFlightRequests) -> None:
        """Begin to load, and return once this worker may accept connections: the server does so after this hook.

        A drain waits for the open `requests`, and ends them when its time is up.
        """
        # BentoML's log shows warnings only of loggers other than its own.
        logging.getLogger("bento_service").setLevel(self.settings.log_level)
        self.metrics.begin_worker(
            supervisor_id=self._table.supervisor_id,
            workers=self.settings.worker_count,
            models=self.settings.models,
            max_queue_images=self.settings.max_queue_items,
            journal_buffer_rows=self.settings.journal_buffer_rows,
        )
        self._requests = requests
        loop = asyncio.get_running_loop()
        GracefulShutdown(
            requests,
            begin_drain=partial(self._begin_drain, loop),
            is_serving=lambda: self._pipeline is not None,
            stop_accepting=self._stop_accepting,
        ).handle_signals(loop)
        self._loading = asyncio.create_task(self._load())
        self._renewing = asyncio.create_task(self._keep_renewing())
        if any(other.state is ServiceState.READY for other in self._table.read_others(self._number)):
            await asyncio.wait({self._loading})
        self._is_accepting = self._drain_by_s is None
        self._renew_status()

    def is_ready(self) -> bool:
        """Whether requests are served by whichever worker they reach: this one and all that accept connections."""
        return self.state is ServiceState.READY and not any(
            other.is_accepting and other.state is ServiceState.LOADING
            for other in self._table.read_others(self._number)
        )

    async def stop(self) -> None:
        """Finish what is admitted, flush the journal, release the models."""
        loop = asyncio.get_running_loop()
        drain_by_s = self._begin_drain(loop)
        if self._pipeline is None:
            # No thread that loads can be stopped; it ends with the process.
            logger.info("Stopped while the models were loading.")
        else:
            await self._close(self._pipeline, drain_s=max(0.0, drain_by_s - loop.time()))
        if self._renewing is not None:
            self._renewing.cancel()

    async def _load(self) -> None:
        try:
            pipeline = await self._opened.enter_async_context(self._open_pipeline(self.settings, self.metrics))
            await self._follow_registry(pipeline)
            self._tune()
        except LightboxError as error:
            logger.critical("This worker cannot serve: %s", error.message)
            self._exit_process(_CANNOT_SERVE)
        # Whatever a library raises while it loads, the log has to show it; a task that fails does not.
        except Exception:
            logger.exception("This worker cannot serve")
            self._exit_process(_CANNOT_SERVE)
        else:
            self._pipeline = pipeline
            self.metrics.observe_readiness(True)
            self._renew_status()

    async def _follow_registry(self, pipeline: Pipeline) -> None:
        """Come to the state that the registry wants before any request arrives, and keep to it."""
        self.metrics.observe_versions(pipeline.models.states())
        if pipeline.registry is None:
            return
        self._control = RegistryControl(
            pipeline.registry,
            BentoModelStore(also=self.settings.model_store),
            default_model=pipeline.classifier.served.default_model,
        )
        self._follower = RegistryFollower(
            pipeline.registry,
            pipeline.models,
            pipeline.comparisons,
            served={served.card.name: served.card.version for served in pipeline.classifier.models()},
            missing=pipeline.missing,
            on_states=self.metrics.observe_versions,
        )
        await self._follower.start()

    async def _keep_renewing(self) -> None:
        while os.getppid() == self._table.supervisor_id:
            self._renew_status()
            await asyncio.sleep(RENEW_S)
        # Otherwise it would keep the port, and its models in memory.
        logger.warning("The process that started this worker has ended; stopping.")
        signal.raise_signal(signal.SIGTERM)

    def _renew_status(self) -> None:
        self._table.write(self._number, self.state, is_accepting=self._is_accepting)

    def _begin_drain(self, loop: asyncio.AbstractEventLoop) -> float:
        """Stop admitting, and return when the drain ends, by the loop's clock; its time runs from the first call on."""
        if self._drain_by_s is None:
            self._drain_by_s = loop.time() + self.settings.drain_timeout_s
            loop.call_at(self._drain_by_s, self._give_up)
        if self._follower is not None:
            self._follower.stop_following()
        if self._pipeline is not None:
            self._pipeline.classifier.stop_admitting()
        elif self._loading is not None:
            self._loading.cancel()
        self.metrics.observe_readiness(False)
        self._renew_status()
        return self._drain_by_s

    def _stop_accepting(self) -> None:
        self._is_accepting = False
        self._renew_status()

    def _give_up(self) -> None:
        if self._pipeline is not None:
            self._pipeline.classifier.give_up()
        if self._requests is not None:
            self._ended_requests = self._requests.end_all()

    async def _close(self, pipeline: Pipeline, *, drain_s: float) -> None:
        unanswered, dropped = 0, pipeline.journal.counts().dropped
        try:
            async with self._opened:
                # Beside the drain, since a database that does not answer takes seconds.
                leaving = asyncio.create_task(self._follower.close()) if self._follower is not None else None
                unanswered = await pipeline.classifier.drain(timeout_s=drain_s)
                if leaving is not None:
                    await leaving
        # Whatever a library raises as it closes, the process ends; what was left undone is still reported.
        except Exception:
            logger.exception("A part failed to close; the others are closed all the same.")
        unwritten = pipeline.journal.counts().dropped - dropped
        if not (unanswered or unwritten or self._ended_requests):
            logger.info("Drained: every admitted request is answered and in the journal.")
            return
        logger.warning(
            "Stopped with work left undone after at most %g s (LIGHTBOX_DRAIN_TIMEOUT_S): "
            "%d open requests ended, %d admitted images unanswered, %d receipts lost.",
            self.settings.drain_timeout_s,
            self._ended_requests,
            unanswered,
            unwritten,
        )
