"""Every served model behind one door: admission, then the one pipeline. No HTTP in it."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from bento_service.cache.result_cache import ResultCache, name_scope
from bento_service.domain.models import ModelCard
from bento_service.domain.requests import Priority, Receipt, Timings
from bento_service.domain.service import ModelState, ServedModel
from bento_service.engines.base import Engine
from bento_service.errors import DrainingError, LightboxError, OverloadedError
from bento_service.pipeline.admission import Gate
from bento_service.pipeline.preprocessing import Preprocessor
from bento_service.pipeline.preview_request import PreviewRequest
from bento_service.pipeline.request import ImageRequest, RequestContext
from bento_service.pipeline.served_models import ServedModels, check_parameters
from bento_service.pipeline.wait_predictor import WaitPredictor


@dataclass(frozen=True, slots=True)
class WarmModel:
    """A model that is loaded and has run."""

    card: ModelCard
    engine: Engine


@dataclass(frozen=True, slots=True)
class Limits:
    """What a classifier admits.

    `target_ms` bounds the predicted wait, `max_queue_items` the images received and not yet answered,
    `max_receiving_requests` those that are still on their way in.
    """

    target_ms: float
    max_queue_items: int
    max_receiving_requests: int


class Observer(Protocol):
    """Who is told of each finished request; called on the event loop, so it must not wait."""

    def observe_receipt(self, receipt: Receipt) -> None:
        """Take note of a receipt."""

    def observe_shed(self, reason: str) -> None:
        """Take note of a refusal for load."""


class Classifier:
    """Every served model behind one door. Used on one event loop."""

    def __init__(
        self,
        models: Sequence[WarmModel],
        *,
        default_model: str,
        limits: Limits,
        workshop: Preprocessor,
        predictor: WaitPredictor,
        observers: Sequence[Observer],
        clock: Callable[[], float],
        cache: ResultCache | None = None,
    ) -> None:
        """Wire the parts; without a cache every image is computed."""
        self._models = {model.card.name: model for model in models}
        self._offer = ServedModels({name: model.card for name, model in self._models.items()}, default_model)
        self._observers = observers
        self._clock = clock
        self._is_draining = False
        self._has_given_up = False
        self._is_drained = asyncio.Event()
        self._gate = Gate(
            predictor,
            target_ms=limits.target_ms,
            max_queued=limits.max_queue_items,
            max_receiving=limits.max_receiving_requests,
        )
        self._pipeline = RequestContext(
            self._offer,
            workshop,
            predictor,
            self._gate,
            cache,
            {
                name: name_scope(
                    model.card.version,
                    library=model.engine.library,
                    device_kind=model.engine.device.kind,
                    precision=model.engine.precision,
                    min_oversampling=workshop.min_oversampling,
                )
                for name, model in self._models.items()
            },
            finish=self._finish,
            clock=clock,
        )

    @property
    def is_draining(self) -> bool:
        """Whether it has stopped to admit."""
        return self._is_draining

    @property
    def is_overloaded(self) -> bool:
        """Whether a further interactive image without a deadline would be refused."""
        return self._gate.is_closed

    @property
    def in_flight(self) -> int:
        """Images admitted and not yet answered."""
        return self._pipeline.predictor.in_flight

    @property
    def predicted_wait_ms(self) -> float:
        """Time until an image that came in now would be answered, its own work left out."""
        return self._pipeline.predictor.predicted_wait_ms

    def models(self) -> tuple[ServedModel, ...]:
        """Return the served models, in the order of the settings."""
        return tuple(
            ServedModel(
                card=model.card,
                is_default=model.card.name == self._offer.default_model,
                engine=model.engine.name,
                precision=model.engine.precision,
                state=ModelState.READY,
            )
            for model in self._models.values()
        )

    def find_model(self, name: str) -> ServedModel:
        """Return one served model.

        Raises:
            UnknownModelError: It is not served.
        """
        card = self._offer.find(name)
        return next(served for served in self.models() if served.card is card)

    def stop_admitting(self) -> None:
        """Refuse every further request; what is admitted goes on."""
        self._is_draining = True

    def give_up(self) -> None:
        """Take no more time over what is admitted: what is cancelled from now on ends as `draining`, by our doing."""
        self.stop_admitting()
        self._has_given_up = True

    async def drain(self, *, timeout_s: float) -> int:
        """Stop admitting, and wait until every admitted image has its receipt, or until the time is up.

        Returns:
            The images that have none, which is 0 unless the time was up.
        """
        self.stop_admitting()
        if self.in_flight:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._is_drained.wait()
        return self.in_flight

    def open(
        self,
        *,
        request_id: str,
        model: str | None,
        top_k: int,
        deadline_ms: float | None,
        started_s: float,
        priority: Priority = Priority.INTERACTIVE,
        continues_request: bool = False,
    ) -> ImageRequest:
        """Admit one image before any of its bytes are read; a refusal leaves a receipt too.

        Args:
            request_id: Names the request in answer, log and journal.
            model: A served model's name, or None for the default.
            top_k: Predictions wanted, 1 to the model's number of classes.
            deadline_ms: The client's own limit on `total_ms`, or None.
            started_s: The clock as the request's headers arrived.
            priority: Whether somebody waits for the answer; bulk images let interactive ones go first.
            continues_request: Whether an image of the same request was admitted already; such ones pass during a drain.

        Raises:
            UnknownModelError: `model` is not served.
            InvalidParameterError: `top_k` or `deadline_ms` is out of range.
            DeadlineExceededError: The deadline has passed already.
            OverloadedError: The predicted wait exceeds target or deadline, or too much is in flight.
            DrainingError: Shutting down.
        """
        received_at = datetime.now(UTC)
        card: ModelCard | None = None
        try:
            card = self._offer.find(model)
            check_parameters(card, top_k=top_k, deadline_ms=deadline_ms)
            if self._has_given_up or (self._is_draining and not continues_request):
                raise _refuse_as_draining()
            self._gate.check_receiving()
            self._gate.check_place(priority)
            self._gate.check_wait(deadline_ms=deadline_ms, elapsed_ms=self._elapsed_ms(started_s), priority=priority)
        except LightboxError as error:
            timings = Timings(total_ms=self._elapsed_ms(started_s))
            self._finish(_open_receipt(request_id, received_at, card, outcome=error.code, timings=timings), error)
            raise
        return ImageRequest(
            self._pipeline,
            receipt=_open_receipt(request_id, received_at, card),
            model=card,
            top_k=top_k,
            deadline_ms=deadline_ms,
            priority=priority,
            started_s=started_s,
        )

    def record_refusal(
        self, error: LightboxError, *, request_id: str, model: str | None, received_at: datetime, total_ms: float
    ) -> None:
        """Write the receipt of a request that was refused with the error of another, which asked for the same."""
        card, timings = self._offer.find(model), Timings(total_ms=total_ms)
        self._finish(_open_receipt(request_id, received_at, card, outcome=error.code, timings=timings), error)

    def open_preview(self) -> PreviewRequest:
        """Admit one image that is only to be shown, before any of its bytes are read; it leaves no receipt.

        Raises:
            OverloadedError: The predicted wait exceeds the target, or too much is in flight.
            DrainingError: Shutting down.
        """
        try:
            if self._is_draining:
                raise _refuse_as_draining()
            self._gate.check_receiving()
            self._gate.check_place(Priority.BULK)
            self._gate.check_wait(Priority.BULK, deadline_ms=None, elapsed_ms=0.0)
        except LightboxError as error:
            self._note_end(error)
            raise
        pipeline = self._pipeline
        return PreviewRequest(
            pipeline.workshop,
            pipeline.predictor,
            self._gate,
            self._offer.find(None),
            finish=self._note_end,
        )

    def _elapsed_ms(self, started_s: float) -> float:
        return (self._clock() - started_s) * 1000

    def _finish(self, receipt: Receipt, error: BaseException | None) -> None:
        if self._has_given_up and isinstance(error, asyncio.CancelledError):
            receipt = replace(receipt, outcome=DrainingError.code)
        self._note_end(error)
        for observer in self._observers:
            observer.observe_receipt(receipt)

    def _note_end(self, error: BaseException | None) -> None:
        if isinstance(error, OverloadedError):
            for observer in self._observers:
                observer.observe_shed(str(error.details["reason"]))
        if self._is_draining and self.in_flight == 0:
            self._is_drained.set()


def _open_receipt(
    request_id: str, received_at: datetime, card: ModelCard | None, *, outcome: str = "", timings: Timings | None = None
) -> Receipt:
    return Receipt(
        request_id=request_id,
        received_at=received_at,
        model=card.name if card else "",
        model_version=card.version if card else "",
        outcome=outcome,
        timings=timings or Timings(),
    )


def _refuse_as_draining() -> DrainingError:
    return DrainingError("This server is shutting down and takes no more images. Try again.", retry_after_s=1.0)
