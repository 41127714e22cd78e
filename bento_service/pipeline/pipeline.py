"""What a serving process has open: its models, its threads, its connections. Says how they do, and closes them."""

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from bento_service.cache.result_cache import ResultCache
from bento_service.domain.runner import EngineMode
from bento_service.domain.service import ServiceState, ServiceStatus
from bento_service.journal.base import Journal
from bento_service.machine import Division
from bento_service.pipeline.classifier import Classifier, WarmModel
from bento_service.pipeline.decode_pool import DecodePool
from bento_service.scheduling.cost_model import CostModel
from bento_service.scheduling.scheduler import Scheduler
from bento_service.settings import JOURNAL_CLOSE_S, LANES_STOP_S, Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WarmModels:
    """Loaded models, what each of them costs by name and mode, and how the machine is divided among them."""

    models: tuple[WarmModel, ...]
    costs: Mapping[str, Mapping[EngineMode, CostModel]]
    division: Division

    def close(self) -> None:
        """Release the engines."""
        for model in self.models:
            model.engine.close()


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What a process left undone as it closed: images admitted and not answered, and receipts not written."""

    unanswered: int
    unwritten: int


class Pipeline:
    """Everything that a serving process has open."""

    def __init__(
        self,
        *,
        settings: Settings,
        classifier: Classifier,
        journal: Journal,
        parts: "PipelineParts",
        started_s: float,
    ) -> None:
        self.settings = settings
        self.classifier = classifier
        self.journal = journal
        self._parts = parts
        self._started_s = started_s

    def status(self) -> ServiceStatus:
        """Describe how this process is doing."""
        engine = self._parts.warm.models[0].engine
        counts = self.journal.counts()
        return ServiceStatus(
            state=ServiceState.DRAINING if self.classifier.is_draining else ServiceState.READY,
            device=engine.device,
            engine=engine.name,
            workers=self.settings.worker_count,
            lanes=self._parts.warm.division.lanes,
            decode_threads=self._parts.warm.division.decode_threads,
            queue_depth=self.classifier.in_flight,
            batch_ceiling=self._parts.scheduler.queue.ceilings(),
            predicted_wait_ms=self.classifier.predicted_wait_ms,
            target_p99_ms=self.settings.target_p99_ms,
            uptime_s=time.monotonic() - self._started_s,
            journal={"waiting": counts.waiting, "written": counts.written, "dropped": counts.dropped},
            cost=self._parts.scheduler.queue.costs(),
            recent_dispatches=self._parts.scheduler.queue.recent_dispatches(),
            cache=self._parts.cache.describe() if self._parts.cache else {},
        )

    async def close(self, *, drain_s: float) -> Leftovers:
        """Finish what is admitted within `drain_s` seconds, flush the journal, release the models."""
        try:
            unanswered = await self.classifier.drain(timeout_s=drain_s)
            await self._parts.close(timeout_s=LANES_STOP_S)
        # Whatever a library raises as it goes, the process ends with it; the receipts do not.
        except Exception:
            logger.exception("A part failed to close; the journal is flushed all the same.")
            unanswered = self.classifier.in_flight
        finally:
            unwritten = await asyncio.to_thread(self.journal.close, JOURNAL_CLOSE_S)
        return Leftovers(unanswered, unwritten)


@dataclass(frozen=True, slots=True)
class PipelineParts:
    """The threads, models and connections under a classifier."""

    warm: WarmModels
    scheduler: Scheduler
    decode_pool: DecodePool
    cache: ResultCache | None

    async def close(self, *, timeout_s: float) -> None:
        """Close each of them, lanes first, whether or not the one before it could be."""
        async with AsyncExitStack() as closing:
            closing.callback(self._release_models)
            if self.cache is not None:
                closing.push_async_callback(self.cache.close)
            closing.callback(self.decode_pool.close, wait=False)
            closing.push_async_callback(asyncio.to_thread, self.scheduler.close, timeout_s=timeout_s)

    def _release_models(self) -> None:
        if self.scheduler.has_ended:
            self.warm.close()
        else:
            # An engine waits for what runs in it, which would keep the journal from its last receipts.
            logger.warning("A lane is still at work; the models go with the process.")
