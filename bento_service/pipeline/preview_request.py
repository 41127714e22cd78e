"""One preview's way from admission to picture: as an image's, without model, cache and receipt."""

import asyncio
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from bento_service.domain.models import ModelCard
from bento_service.domain.requests import Preview, Priority
from bento_service.images.prepare import draw_preview
from bento_service.pipeline.admission import Gate
from bento_service.pipeline.decode_pool import DecodePool
from bento_service.pipeline.preprocessing import Preprocessor, contain, refuse_as_draining
from bento_service.pipeline.wait_predictor import WaitPredictor, WorkEstimate

Result = TypeVar("Result")


class PreviewRequest:
    """One admitted preview; a context manager that holds its place. Used on the event loop, by one task."""

    def __init__(
        self,
        workshop: Preprocessor,
        predictor: WaitPredictor,
        gate: Gate,
        model: ModelCard,
        *,
        finish: Callable[[BaseException | None], None],
    ) -> None:
        """Describe the work.

        Args:
            workshop: Has the decode threads.
            predictor: Counts it as bulk work.
            gate: Says whether there is room.
            model: Whose image is as much work as a preview at most.
            finish: Called with the error that ended it, or None.
        """
        self._workshop = workshop
        self._predictor = predictor
        self._gate = gate
        self._model = model
        self._finish = finish
        self._load: WorkEstimate | None = None

    def __enter__(self) -> Self:
        """Take a place among those that arrive."""
        self._predictor.admit()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the place."""
        self._predictor.release(self._load, has_run=False)
        self._finish(error)

    async def draw(self, encoded: bytes) -> Preview:
        """Decode the image and draw it, in a decode thread, after interactive images.

        Raises:
            LightboxError: Any of the errors of admission and intake.
        """
        self._gate.check_wait(Priority.BULK, deadline_ms=None, elapsed_ms=0.0)
        self._gate.check_place(Priority.BULK)
        self._load = WorkEstimate(self._workshop.estimate_ms(self._model, encoded), Priority.BULK)
        self._predictor.receive(self._load)
        return await _run(self._workshop.decode_pool, lambda: draw_preview(encoded, self._workshop.limits))


async def _run(pool: DecodePool, job: Callable[[], Result]) -> Result:
    """Run a job at bulk priority; cancelling the call drops it if it has not begun."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(put: Callable[[], None]) -> None:
        if not future.done():
            put()

    def fail(error: BaseException) -> None:
        failure = error if isinstance(error, Exception) else contain(error)
        loop.call_soon_threadsafe(settle, partial(future.set_exception, failure))

    def work() -> None:
        try:
            result = job()
        # The caller has to hear of a defect too, as in `Computation`.
        except BaseException as error:  # noqa: BLE001
            fail(error)
        else:
            loop.call_soon_threadsafe(settle, partial(future.set_result, result))

    try:
        ticket = pool.submit(work, priority=Priority.BULK, on_dropped=lambda: fail(refuse_as_draining()))
    except RuntimeError:
        raise refuse_as_draining() from None
    try:
        return await future
    except asyncio.CancelledError:
        ticket.cancel()
        raise
