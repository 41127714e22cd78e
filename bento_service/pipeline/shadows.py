"""Runs a share of the answered images on a challenger too, and compares the scores."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.models import ModelCard
from bento_service.domain.registry import Comparison
from bento_service.domain.requests import Priority
from bento_service.errors import LightboxError, OverloadedError
from bento_service.images.header import read_header
from bento_service.pipeline.admission import Admission
from bento_service.pipeline.computation import Computation, Runner
from bento_service.pipeline.model_table import ModelTable
from bento_service.pipeline.served_models import ServedModels

logger = logging.getLogger(__name__)

_MAX_WAITING = 32
_MAX_BYTES = 32_000_000
"""Answered images that wait for the challenger, at most, and their bytes. More are not compared."""
_REMEMBERED = 4096
"""Images that were compared last; none of them is compared again while it is remembered."""
DROPPED, FAILED = "dropped", "failed"
"""Why an image was not compared: the service has no time to spare, or the challenger failed on it."""


@dataclass(frozen=True, slots=True, eq=False)
class ShadowedAnswer:
    """An answered image that its model's shadow is to run too; `scores` are those of the answer."""

    models: ServedModels
    answering: ModelCard
    challenger: ModelCard
    request_id: str
    encoded: bytes
    digest: str
    scores: NDArray[np.float32]

    @property
    def key(self) -> tuple[str, str, str]:
        """What is compared: two versions on one image."""
        return self.answering.key, self.challenger.key, self.digest


class Shadows:
    """Runs answered images on their challengers, as bulk work and only while there is time to spare.

    The answer is sent already: neither a slow nor a failing challenger can change it. An answer from the cache is
    compared like any other, but each image once: what the challenger makes of the same bytes does not change. Used on
    the event loop.
    """

    def __init__(
        self,
        table: ModelTable,
        runner: Runner,
        admission: Admission,
        *,
        at_once: int,
        on_comparison: Callable[[Comparison], None],
        on_missed: Callable[[str, str], None],
        on_end: Callable[[], None],
    ) -> None:
        """Run nothing yet.

        Args:
            table: Keeps the challengers open.
            runner: Computes the images.
            admission: Knows whether there is time to spare.
            at_once: Images that run at a time.
            on_comparison: Called with each result.
            on_missed: Called with model and reason, `DROPPED` or `FAILED`, for each image that was not compared.
            on_end: Called after each image that had a place in the queue.
        """
        self._table = table
        self._runner = runner
        self._admission = admission
        self._turns = asyncio.Semaphore(at_once)
        self._on_comparison = on_comparison
        self._on_missed = on_missed
        self._on_end = on_end
        self._tasks: set[asyncio.Task[None]] = set()
        self._bytes = 0
        self._compared: dict[tuple[str, str, str], None] = {}
        self._is_stopped = False

    def offer(self, answer: ShadowedAnswer) -> None:
        """Compare an answered image soon, unless it was compared lately or there is no time to spare."""
        key = answer.key
        if key in self._compared or self._is_stopped:
            return
        has_place = len(self._tasks) < _MAX_WAITING and self._bytes + len(answer.encoded) <= _MAX_BYTES
        if not has_place or not self._admission.has_time_to_spare:
            self._miss(answer, DROPPED)
            return
        self._compared[key] = None
        if len(self._compared) > _REMEMBERED:
            del self._compared[next(iter(self._compared))]
        self._bytes += len(answer.encoded)
        self._table.take(answer.models)
        task = asyncio.create_task(self._compare(answer))
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._end(task, answer))

    def stop(self) -> None:
        """Compare nothing more, not even what waits."""
        self._is_stopped = True
        for task in self._tasks:
            task.cancel()

    def _end(self, task: "asyncio.Task[None]", answer: ShadowedAnswer) -> None:
        self._tasks.discard(task)
        self._bytes -= len(answer.encoded)
        self._table.release(answer.models)
        if not task.cancelled() and (error := task.exception()):
            logger.error("A comparison with %s failed", answer.challenger.key, exc_info=error)

    def _miss(self, answer: ShadowedAnswer, reason: str) -> None:
        if reason == DROPPED:
            self._compared.pop(answer.key, None)
        self._on_missed(answer.answering.name, reason)

    async def _compare(self, answer: ShadowedAnswer) -> None:
        async with self._turns:
            if not self._admission.has_time_to_spare:
                self._miss(answer, DROPPED)
                return
            try:
                scores = await self._run(answer)
            except LightboxError as error:
                self._miss(answer, DROPPED if isinstance(error, OverloadedError) else FAILED)
                return
            finally:
                self._on_end()
        self._on_comparison(
            Comparison(
                name=answer.answering.name,
                version=answer.answering.version,
                challenger=answer.challenger.version,
                request_id=answer.request_id,
                compared_at=datetime.now(UTC),
                is_same_class=int(scores.argmax()) == int(answer.scores.argmax()),
                max_difference=float(np.abs(scores - answer.scores).max()),
            )
        )

    async def _run(self, answer: ShadowedAnswer) -> NDArray[np.float32]:
        permit = self._admission.admit(Priority.BULK)
        header = read_header(answer.encoded)
        work_ms = self._runner.estimator.estimate_ms(answer.challenger.key, len(answer.encoded), header)
        computation = Computation(
            self._runner, answer.challenger, answer.encoded, header, answer.digest, Priority.BULK, deadline_s=None
        )
        permit.start_computing(work_ms)
        try:
            completion, _ = await computation.run()
        finally:
            permit.release(has_run=computation.has_run)
        return completion.scores
