"""Admits images for the served models, hands their receipts to the observers, and drains."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Protocol

from bento_service.cache.result_cache import ResultCache
from bento_service.domain.registry import Comparison
from bento_service.domain.requests import Priority, Receipt, Timings
from bento_service.domain.service import ServedModel
from bento_service.errors import DrainingError, LightboxError, OverloadedError, UnknownModelError
from bento_service.pipeline.admission import Admission
from bento_service.pipeline.computation import Runner
from bento_service.pipeline.model_table import ModelTable
from bento_service.pipeline.preview_request import PreviewRequest
from bento_service.pipeline.request import ImageRequest
from bento_service.pipeline.served_models import ServedModels, check_parameters
from bento_service.pipeline.shadows import Shadows

NO_HEADERS: Mapping[str, str] = MappingProxyType({})
"""For an image that no HTTP request brings."""


class Observer(Protocol):
    """Called for each finished request, on the event loop, so it must not wait.

    Implemented by `Metrics` in `observability/metrics.py` and `_JournalObserver` in `bootstrap.py`.
    """

    def observe_receipt(self, receipt: Receipt) -> None:
        """Handle a receipt."""

    def observe_rejection(self, reason: str) -> None:
        """Handle a rejection for overload."""

    def observe_comparison(self, comparison: Comparison) -> None:
        """Handle an image that ran on a champion and on its shadow."""

    def observe_missed_comparison(self, model: str, reason: str) -> None:
        """Handle an image that was chosen for a comparison and not compared: `shadows.DROPPED` or `FAILED`."""


class Classifier:
    """Classifies images by the models of a table; without a cache every image is computed. Used on one event loop."""

    def __init__(
        self,
        table: ModelTable,
        *,
        runner: Runner,
        admission: Admission,
        observers: Sequence[Observer],
        cache: ResultCache | None = None,
        shadows_at_once: int = 1,
    ) -> None:
        self._table = table
        self._runner = runner
        self._admission = admission
        self._cache = cache
        self._observers = observers
        self._is_draining = False
        self._has_given_up = False
        self._is_drained = asyncio.Event()
        self._shadows = Shadows(
            table,
            runner,
            admission,
            at_once=shadows_at_once,
            on_comparison=self._note_comparison,
            on_missed=self._note_missed_comparison,
            on_end=lambda: self._note_end(None),
        )

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
        """Return the version that answers to each name, in the order of the settings."""
        return self._table.current.champions

    @property
    def served(self) -> ServedModels:
        """All that is served now."""
        return self._table.current

    def find_model(self, name: str) -> ServedModel:
        """Return one served model by name, `name:version` or `name@alias`.

        Raises:
            UnknownModelError: It is not served.
        """
        return self._table.current.find(name)

    def hold_models(self) -> AbstractContextManager[ServedModels]:
        """Keep all that is served now open, for a request whose images are admitted one after the other."""
        return self._table.hold(self._table.current)

    def stop_admitting(self) -> None:
        """Refuse every further request; admitted ones are finished."""
        self._is_draining = True
        self._shadows.stop()

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
        models: ServedModels | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> ImageRequest:
        """Admit one image before any of its bytes are read; a rejected one gets a receipt too.

        Args:
            request_id: Names the request in answer, log and journal.
            model: A served model's name, `name:version` or `name@alias`; or None for the default.
            top_k: Predictions wanted, at least 1; all classes where there are fewer.
            deadline_ms: The client's own limit on `total_ms`, or None.
            started_s: The clock when the request's headers arrived.
            priority: Interactive images go before bulk ones.
            continues_request: Whether an image of the same request was admitted before; that also admits it in a drain.
            models: From `hold_models`, where a request has several images.
            headers: The request's, of which one may decide between a champion and its canary.

        Raises:
            UnknownModelError: `model` is not served.
            InvalidParameterError: `top_k` or `deadline_ms` is out of range.
            DeadlineExceededError: The deadline has passed already.
            OverloadedError: The predicted wait exceeds target or deadline, or too much is in flight.
            DrainingError: Shutting down.
        """
        received_at = datetime.now(UTC)
        models = models or self._table.current
        served: ServedModel | None = None
        try:
            served = models.find(model)
            check_parameters(top_k=top_k, deadline_ms=deadline_ms)
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
            self._table,
            models,
            self._runner,
            self._cache,
            self._shadows,
            permit,
            self._finish,
            request_id,
            received_at,
            asked=model,
            model=served,
            top_k=top_k,
            deadline_ms=deadline_ms,
            started_s=started_s,
            headers=headers,
        )

    def record_rejection(
        self, error: LightboxError, *, request_id: str, model: str | None, received_at: datetime, total_ms: float
    ) -> None:
        """Write the receipt of a request that is rejected with the error of an earlier one like it."""
        served: ServedModel | None = None
        # It may have been unloaded since.
        with suppress(UnknownModelError):
            served = self._table.current.find(model)
        self._finish(_make_refusal(error, request_id, served, received_at, total_ms), error)

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
        return PreviewRequest(self._table, self._table.current, self._runner, permit, self._note_end)

    def _finish(self, receipt: Receipt, error: BaseException | None) -> None:
        if self._has_given_up and isinstance(error, asyncio.CancelledError):
            receipt = replace(receipt, outcome=DrainingError.code)
        self._note_end(error)
        for observer in self._observers:
            observer.observe_receipt(receipt)

    def _note_comparison(self, comparison: Comparison) -> None:
        for observer in self._observers:
            observer.observe_comparison(comparison)

    def _note_missed_comparison(self, model: str, reason: str) -> None:
        for observer in self._observers:
            observer.observe_missed_comparison(model, reason)

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
