"""One admitted image: cache look-up or computation, then its answer and its receipt."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Self

from bento_service.cache.base import CachedResult
from bento_service.cache.result_cache import ResultCache
from bento_service.domain.models import ModelCard
from bento_service.domain.requests import OUTCOME_OK, Answer, Prediction, Receipt, Timings
from bento_service.domain.runner import DispatchReason
from bento_service.errors import DeadlineExceededError, LightboxError, UnknownModelError
from bento_service.images.header import read_header
from bento_service.pipeline.admission import Permit
from bento_service.pipeline.preprocessing import Preprocessing, Preprocessor
from bento_service.pipeline.ranking import rank
from bento_service.pipeline.served_models import ServedModels, check_parameters

_RECEIPT_PREDICTIONS = 5


class ImageRequest:
    """One admitted image; a context manager that holds its place and writes its receipt.

    The receipt's outcome is `ok`, the code of the `LightboxError` that left the context, or `cancelled` where the
    client disconnected. Used on the event loop, by one task.
    """

    def __init__(
        self,
        models: ServedModels,
        preprocessor: Preprocessor,
        cache: ResultCache | None,
        permit: Permit,
        *,
        finish: Callable[[Receipt, BaseException | None], None],
        request_id: str,
        received_at: datetime,
        model: ModelCard,
        top_k: int,
        deadline_ms: float | None,
        started_s: float,
    ) -> None:
        """Describe the request.

        Args:
            models: The served models.
            preprocessor: Decodes the image and hands it to the lanes; its clock is the request's.
            cache: Results of images seen before, or None.
            permit: The image's place.
            finish: Called with the receipt, and the error that left the context.
            request_id: See `Classifier.open`.
            received_at: When the request was opened, in UTC.
            model: The model that is asked for.
            top_k: Predictions wanted.
            deadline_ms: The client's own limit on `total_ms`, or None.
            started_s: The clock when the request's headers arrived.
        """
        self.request_id = request_id
        self.model = model
        self._models = models
        self._preprocessor = preprocessor
        self._cache = cache
        self._permit = permit
        self._finish = finish
        self._received_at = received_at
        self._top_k = top_k
        self._deadline_ms = deadline_ms
        self._started_s = started_s
        self._received_s: float | None = None
        self._digest = ""
        self._work: Preprocessing | None = None
        self._answer: Answer | None = None

    def __enter__(self) -> Self:
        """Take a place among the images that are being received."""
        self._permit.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the place and write the receipt."""
        if self._answer is None:
            receipt = self._make_receipt(
                name_outcome(error), model=None if isinstance(error, UnknownModelError) else self.model
            )
        elif error is None:
            receipt = self._answer.receipt
        else:
            receipt = replace(self._answer.receipt, outcome=name_outcome(error))
        self._permit.release(has_run=self._work is not None and self._work.has_run)
        self._finish(receipt, error)

    def change_parameters(self, *, model: str | None, top_k: int, deadline_ms: float | None) -> None:
        """Replace the parameters of admission, for a request that has them in its body.

        Call it before `classify`, which compares the new deadline with the predicted wait.

        Raises:
            UnknownModelError: `model` is not served.
            InvalidParameterError: `top_k` or `deadline_ms` is out of range.
        """
        self.model = self._models.find(model)
        check_parameters(self.model, top_k=top_k, deadline_ms=deadline_ms)
        self._top_k = top_k
        self._deadline_ms = deadline_ms

    async def classify(self, encoded: bytes) -> Answer:
        """Answer from the cache, or decode, schedule, infer. `receive_ms` ends when this is called.

        Cancelling the call costs no further compute. Before anything is computed, admission is checked once more: much
        may have come in while this image was received.

        Args:
            encoded: The image's bytes, in any of the formats of `bento_service.images`.

        Raises:
            LightboxError: Any of the errors of admission, intake, scheduling and inference.
        """
        received_s = self._received_s = self._preprocessor.clock()
        if self._deadline_ms is None:
            return self._make_answer(await self._find(encoded, deadline_s=None))
        deadline_s = self._started_s + self._deadline_ms / 1000
        try:
            async with asyncio.timeout(deadline_s - received_s):
                return self._make_answer(await self._find(encoded, deadline_s=deadline_s))
        except TimeoutError:
            raise DeadlineExceededError(
                f"The deadline of {self._deadline_ms:g} ms passed before the answer was ready. Allow more time, or "
                "send less at once.",
                deadline_ms=self._deadline_ms,
            ) from None

    async def _find(self, encoded: bytes, *, deadline_s: float | None) -> CachedResult:
        """Return the result from the cache, or compute it."""
        cache = self._cache
        if cache is not None:
            self._digest = await cache.digest(encoded)
        if cache is None or not self._permit.wait_at_cache():
            return await self._compute(encoded, deadline_s=deadline_s)
        found = await cache.fetch(
            self._digest,
            scope=self._models.scopes[self.model.name],
            priority=self._permit.priority,
            compute=lambda: self._compute(encoded, deadline_s=deadline_s),
        )
        return found.result

    async def _compute(self, encoded: bytes, *, deadline_s: float | None) -> CachedResult:
        self._permit.check(deadline_ms=self._deadline_ms, elapsed_ms=self._elapsed_ms())
        header = read_header(encoded)
        self._permit.compute(self._preprocessor.estimate_ms(self.model, len(encoded), header))
        self._work = Preprocessing(
            self._preprocessor,
            self.model,
            encoded,
            header=header,
            digest=self._digest,
            priority=self._permit.priority,
            deadline_s=deadline_s,
        )
        completion, prepared = await self._work.run()
        return CachedResult.of(completion.scores, prepared.info, prepared.warnings)

    def _make_answer(self, result: CachedResult) -> Answer:
        predictions = rank(result.scores, self.model.labels, max(self._top_k, _RECEIPT_PREDICTIONS))
        receipt = self._make_receipt(
            OUTCOME_OK, model=self.model, result=result, top=predictions[:_RECEIPT_PREDICTIONS]
        )
        self._answer = Answer(receipt, predictions[: self._top_k], result.image, receipt.warnings)
        return self._answer

    def _make_receipt(
        self,
        outcome: str,
        *,
        model: ModelCard | None,
        result: CachedResult | None = None,
        top: tuple[Prediction, ...] = (),
    ) -> Receipt:
        work = self._work
        image, warnings = (result.image, result.warnings) if result else (None, ())
        batch_size, dispatch, digest = 0, "", self._digest
        decode_ms = queue_ms = inference_ms = 0.0
        if work is not None and self._received_s is not None:
            digest = work.digest
            decode_ms, queue_ms = work.time_stages(self._received_s)
            if work.prepared is not None:
                image, warnings = work.prepared.info, work.prepared.warnings
            if work.completion is not None:
                batch_size, dispatch = work.completion.batch_size, work.completion.reason.value
                inference_ms = work.completion.inference_ms
        total_ms = self._elapsed_ms()
        receive_ms = total_ms if self._received_s is None else (self._received_s - self._started_s) * 1000
        is_cached = result is not None and work is None
        if is_cached:
            dispatch, queue_ms = DispatchReason.CACHED.value, total_ms - receive_ms
        return Receipt(
            request_id=self.request_id,
            received_at=self._received_at,
            model=model.name if model else "",
            model_version=model.version if model else "",
            outcome=outcome,
            timings=Timings(receive_ms, decode_ms, queue_ms, inference_ms, total_ms),
            top=top,
            batch_size=batch_size,
            dispatch=dispatch,
            image=image,
            digest=digest,
            cached=is_cached,
            warnings=(*warnings, *self.model.warnings) if image else (),
        )

    def _elapsed_ms(self) -> float:
        return (self._preprocessor.clock() - self._started_s) * 1000


def name_outcome(error: BaseException | None) -> str:
    """Return the outcome of a request that was not answered."""
    if isinstance(error, LightboxError):
        return error.code
    if error is None or isinstance(error, asyncio.CancelledError):
        return "cancelled"
    return "internal_error"
