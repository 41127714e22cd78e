"""Admits images for the served models, hands their receipts to the observers, and drains."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from bento_service.cache.result_cache import ResultCache, name_scope
from bento_service.domain.models import ModelCard
from bento_service.domain.requests import Priority, Receipt, Timings
from bento_service.domain.service import ServedModel
from bento_service.engines.base import Engine
from bento_service.errors import DrainingError, LightboxError, OverloadedError
from bento_service.pipeline.admission import Admission
from bento_service.pipeline.computation import Runner
from bento_service.pipeline.request import ImageRequest, PreviewRequest
from bento_service.pipeline.served_models import ServedModels, check_parameters


@dataclass(frozen=True, slots=True)
class WarmModel:
    """A model that is loaded and has run."""

    card: ModelCard
    engine: Engine


class Observer(Protocol):
    """Called for each finished request, on the event loop, so it must not wait.

    Implemented by `Metrics` in `observability/metrics.py` and `_JournalObserver` in `bootstrap.py`.
    """

    def observe_receipt(self, receipt: Receipt) -> None:
        """Handle a receipt."""

    def observe_rejection(self, reason: str) -> None:
        """Handle a rejection for overload."""


class Classifier:
    """The served models; without a cache every image is computed. Used on one event loop."""

    def __init__(
        self,
        models: Sequence[WarmModel],
        *,
        default_model: str,
        runner: Runner,
        admission: Admission,
        observers: Sequence[Observer],
        cache: ResultCache | None = None,
    ) -> None:
        self._served = ServedModels(
            {
                model.card.name: ServedModel(
                    model.card,
                    is_default=model.card.name == default_model,
                    engine=model.engine.name,
                    precision=model.engine.precision,
                    device=model.engine.device,
                    cache_scope=name_scope(
                        model.card.version,
                        library=model.engine.library,
                        device_kind=model.engine.device.kind,
                        precision=model.engine.precision,
                        min_oversampling=runner.min_oversampling,
                    ),
                )
                for model in models
            },
            default_model,
        )
        self._runner = runner
        self._admission = admission
        self._cache = cache
        self._observers = observers
        self._is_draining = False
        self._has_given_up = False
        self._is_drained = asyncio.Event()

    @property
    def is_draining(self) -> bool:
        """Whether it admits no further requests."""
        return self._is_draining

    @property
    def is_overloaded(self) -> bool:
        """Whether a further interactive image without a deadline would be rejected."""
        return self._admission.is_overloaded

    @property
    def in_flight(self) -> int:
        """Images admitted and not yet answered."""
        return self._admission.in_flight

    @property
    def predicted_wait_ms(self) -> float:
        """Predicted wait of a new interactive image, its own work left out."""
        return self._admission.predictor.predict_wait_ms()

    def models(self) -> tuple[ServedModel, ...]:
        """Return the served models, in the order of the settings."""
        return tuple(self._served.by_name.values())

    def find_model(self, name: str) -> ServedModel:
        """Return one served model.

        Raises:
            UnknownModelError: It is not served.
        """
        return self._served.find(name)

    def stop_admitting(self) -> None:
        """Refuse every further request; admitted ones are finished."""
        self._is_draining = True

    def give_up(self) -> None:
        """Stop admitting; the receipts of requests that are cancelled from now on say `draining`."""
        self.stop_admitting()
        self._has_given_up = True

    async def drain(self, *, timeout_s: float) -> int:
        """Stop admitting, and wait until every admitted image has its receipt; return how many are left."""
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
        """Admit one image before any of its bytes are read; a rejected one gets a receipt too.

        Args:
            request_id: Names the request in answer, log and journal.
            model: A served model's name, or None for the default.
            top_k: Predictions wanted, 1 to the model's number of classes.
            deadline_ms: The client's own limit on `total_ms`, or None.
            started_s: The clock when the request's headers arrived.
            priority: Interactive images go before bulk ones.
            continues_request: Whether an image of the same request was admitted before; that also admits it in a drain.

        Raises:
            UnknownModelError: `model` is not served.
            InvalidParameterError: `top_k` or `deadline_ms` is out of range.
            DeadlineExceededError: The deadline has passed already.
            OverloadedError: The predicted wait exceeds target or deadline, or too much is in flight.
            DrainingError: Shutting down.
        """
        received_at = datetime.now(UTC)
        served: ServedModel | None = None
        try:
            served = self._served.find(model)
            check_parameters(served.card, top_k=top_k, deadline_ms=deadline_ms)
            if self._has_given_up or (self._is_draining and not continues_request):
                raise _draining_error()
            permit = self._admission.admit(
                priority, deadline_ms=deadline_ms, elapsed_ms=(self._runner.clock() - started_s) * 1000
            )
        except LightboxError as error:
            total_ms = (self._runner.clock() - started_s) * 1000
            self._finish(_make_refusal(error, request_id, served, received_at, total_ms), error)
            raise
        return ImageRequest(
            self._served,
            self._runner,
            self._cache,
            permit,
            self._finish,
            request_id,
            received_at,
            model=served,
            top_k=top_k,
            deadline_ms=deadline_ms,
            started_s=started_s,
        )

    def record_rejection(
        self, error: LightboxError, *, request_id: str, model: str | None, received_at: datetime, total_ms: float
    ) -> None:
        """Write the receipt of a request that is rejected with the error of an earlier one like it."""
        self._finish(_make_refusal(error, request_id, self._served.find(model), received_at, total_ms), error)

    def open_preview(self) -> PreviewRequest:
        """Admit one image for a preview, as bulk work, before any of its bytes are read; it leaves no receipt.

        Raises:
            OverloadedError: The predicted wait exceeds the target, or too much is in flight.
            DrainingError: Shutting down.
        """
        try:
            if self._is_draining:
                raise _draining_error()
            permit = self._admission.admit(Priority.BULK)
        except LightboxError as error:
            self._note_end(error)
            raise
        return PreviewRequest(self._runner, permit, self._served.find(None).card, self._note_end)

    def _finish(self, receipt: Receipt, error: BaseException | None) -> None:
        if self._has_given_up and isinstance(error, asyncio.CancelledError):
            receipt = replace(receipt, outcome=DrainingError.code)
        self._note_end(error)
        for observer in self._observers:
            observer.observe_receipt(receipt)

    def _note_end(self, error: BaseException | None) -> None:
        if isinstance(error, OverloadedError):
            for observer in self._observers:
                observer.observe_rejection(str(error.details["reason"]))
        if self._is_draining and self.in_flight == 0:
            self._is_drained.set()


def _make_refusal(
    error: LightboxError, request_id: str, served: ServedModel | None, received_at: datetime, total_ms: float
) -> Receipt:
    """Return the receipt of a request that was not admitted."""
    return Receipt(
        request_id=request_id,
        received_at=received_at,
        model=served.card.name if served else "",
        model_version=served.card.version if served else "",
        outcome=error.code,
        timings=Timings(total_ms=total_ms),
    )


def _draining_error() -> DrainingError:
    return DrainingError("This server is shutting down and takes no more images. Try again.", retry_after_s=1.0)
