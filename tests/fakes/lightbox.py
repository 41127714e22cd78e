"""A worker's open parts around a classifier: no model store, no database."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

from bento_service.machine import Division
from bento_service.observability.metrics import Metrics
from bento_service.pipeline.classifier import Classifier
from bento_service.pipeline.wiring import Pipeline
from bento_service.settings import Settings
from tests.fakes.journal import FakeJournal


def opener(
    classifier: Classifier, journal: FakeJournal | None = None
) -> Callable[[Settings, Metrics], AbstractAsyncContextManager[Pipeline]]:
    """Return what opens a pipeline around the classifier, which it does not close."""

    @asynccontextmanager
    async def open_pipeline(settings: Settings, metrics: Metrics) -> AsyncIterator[Pipeline]:
        nothing = cast("Any", None)
        division = Division(lanes=1, decode_threads=1, compute_threads=1)
        yield Pipeline(settings, classifier, nothing, nothing, division, None, journal or FakeJournal(), 0.0)

    return open_pipeline
