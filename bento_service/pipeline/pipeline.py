"""The opened parts of one worker, and their status."""

import time
from dataclasses import dataclass

from bento_service.cache.result_cache import ResultCache
from bento_service.domain.service import ServiceState, ServiceStatus
from bento_service.engines.base import Engine
from bento_service.journal.base import Journal
from bento_service.machine import Division
from bento_service.pipeline.classifier import Classifier
from bento_service.scheduling.queue import WorkQueue
from bento_service.settings import Settings


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A classifier and its parts, opened and closed by `bento_service.bootstrap.open_pipeline`."""

    settings: Settings
    classifier: Classifier
    engine: Engine
    queue: WorkQueue
    division: Division
    cache: ResultCache | None
    journal: Journal
    started_s: float

    def status(self) -> ServiceStatus:
        """Describe how this process is doing."""
        counts = self.journal.counts()
        return ServiceStatus(
            state=ServiceState.DRAINING if self.classifier.is_draining else ServiceState.READY,
            device=self.engine.device,
            engine=self.engine.name,
            workers=self.settings.worker_count,
            lanes=self.division.lanes,
            decode_threads=self.division.decode_threads,
            queue_depth=self.classifier.in_flight,
            batch_ceiling=self.queue.ceilings(),
            predicted_wait_ms=self.classifier.predicted_wait_ms,
            target_p99_ms=self.settings.target_p99_ms,
            uptime_s=time.monotonic() - self.started_s,
            journal={"waiting": counts.waiting, "written": counts.written, "dropped": counts.dropped},
            cost=self.queue.costs(),
            recent_dispatches=self.queue.recent_dispatches(),
            cache=self.cache.describe() if self.cache else {},
        )
