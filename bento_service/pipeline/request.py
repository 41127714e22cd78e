"""One image's way from admission to receipt."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bento_service.cache.base import CachedResult
from bento_service.cache.result_cache import ResultCache
from bento_service.domain.models import ModelCard
from bento_service.domain.requests import OUTCOME_OK, Answer, ImageInfo, Prediction, Priority, Receipt, Timings
from bento_service.domain.runner import DispatchReason
from bento_service.errors import DeadlineExceededError, LightboxError
from bento_service.pipeline.admission import Gate
from bento_service.pipeline.preprocessing import Preprocessing, Preprocessor
from bento_service.pipeline.served_models import ServedModels, check_parameters
from bento_service.pipeline.wait_predictor import WaitPredictor, WorkEstimate

_RECEIPT_PREDICTIONS = 5


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The parts that every request goes through.

    `cache` is None where it is switched off, `scopes` names by model what a cached answer depends on beside the image's
    bytes. `finish` takes each request's receipt, and the error that ended it. `clock` gives seconds, monotonic.
    """

    offer: ServedModels
    workshop: Preprocessor
    predictor: WaitPredictor
    gate: Gate
    cache: ResultCache | None
    scopes: Mapping[str, str]
    finish: Callable[[Receipt, BaseException | None], None]
    clock: Callable[[], float]


@dataclass(slots=True)
class _Progress:
    """What is known of a request so far: the receipt's fields that fill up on the way."""

    receive_ms: float = 0.0
    decode_ms: float = 0.0
    queue_ms: float = 0.0
    inference_ms: float = 0.0
    digest: str = ""
    image: ImageInfo | None = None
    warnings: tuple[str, ...] = ()
    top: tuple[Prediction, ...] = ()
    batch_size: int = 0
    dispatch: str = ""
    cached: bool = False


class ImageRequest:
    """One image's way through the pipeline, from its admission to its receipt; a context manager.

    Leaving the context writes the receipt, whatever happened: `ok`, the code of the `LightboxError` that left it, or
    `cancelled` where the client hung up. Used on the event loop, by one task.
    """

    def __init__(
        self,
        pipeline: RequestContext,
        *,
        receipt: Receipt,
        model: ModelCard,
        top_k: int,
        deadline_ms: float | None,
        priority: Priority,
        started_s: float,
    ) -> None:
        self.model = model
        self._pipeline = pipeline
        self._receipt = receipt
        self._top_k = top_k
        self._deadline_ms = deadline_ms
        self._priority = priority
        self._started_s = started_s
        self._progress = _Progress()
        self._has_arrived = False
        self._answer: Answer | None = None
        self._load: WorkEstimate | None = None
        self._has_run = False
        self._is_at_cache = False

    @property
    def request_id(self) -> str:
        """The request's name in answer, log and journal."""
        return self._receipt.request_id

    def __enter__(self) -> Self:
        """Take a place among those that arrive."""
        self._pipeline.predictor.admit()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the place and write the receipt."""
        if error is None and self._answer is not None:
            receipt = self._answer.receipt
        else:
            total_ms = self._elapsed_ms()
            if not self._has_arrived:
                self._progress.receive_ms = total_ms
            receipt = self._build_receipt(name_outcome(error), total_ms)
        self._leave_cache()
        self._pipeline.predictor.release(self._load, has_run=self._has_run)
        self._pipeline.finish(receipt, error)

    def change_parameters(self, *, model: str | None, top_k: int, deadline_ms: float | None) -> None:
        """Ask for something else than at admission, for a request that says within its body what it wants.

        Call it before `classify`, which holds the new deadline against the predicted wait.

        Raises:
            UnknownModelError: `model` is not served.
            InvalidParameterError: `top_k` or `deadline_ms` is out of range.
        """
        self._receipt = replace(self._receipt, model="", model_version="")
        self.model = self._pipeline.offer.find(model)
        self._receipt = replace(self._receipt, model=self.model.name, model_version=self.model.version)
        check_parameters(self.model, top_k=top_k, deadline_ms=deadline_ms)
        self._top_k = top_k
        self._deadline_ms = deadline_ms

    async def classify(self, encoded: bytes) -> Answer:
        """Answer from the cache, or decode, schedule, infer. `receive_ms` ends as this is called.

        Cancelling the call costs no further compute. Before anything is computed, the predicted wait is held against
        target and deadline once more, and the queue against its length: much may have come in while this one did.

        Args:
            encoded: The image's bytes, in any of the formats of `bento_service.images`.

        Raises:
            LightboxError: Any of the errors of admission, intake, scheduling and inference.
        """
        received_s = self._pipeline.clock()
        self._progress.receive_ms = (received_s - self._started_s) * 1000
        self._has_arrived = True
        if self._deadline_ms is None:
            return self._finish(await self._find(encoded, received_s, deadline_s=None))
        deadline_s = self._started_s + self._deadline_ms / 1000
        try:
            async with asyncio.timeout(deadline_s - received_s):
                return self._finish(await self._find(encoded, received_s, deadline_s=deadline_s))
        except TimeoutError:
            raise DeadlineExceededError(
                f"The deadline of {self._deadline_ms:g} ms passed before the answer was ready. Allow more time, or "
                "send less at once.",
                deadline_ms=self._deadline_ms,
            ) from None

    async def _find(self, encoded: bytes, received_s: float, *, deadline_s: float | None) -> CachedResult:
        """Have the result from the cache or by computing it."""
        cache = self._pipeline.cache
        digest = None if cache is None else await cache.digest(encoded)
        if cache is None or digest is None or not self._pipeline.gate.has_place_at_cache():
            return await self._compute(encoded, digest or "", received_s, deadline_s=deadline_s)
        self._progress.digest = digest
        self._is_at_cache = True
        self._pipeline.predictor.count_at_cache(1)
        found = await cache.fetch(
            digest,
            scope=self._pipeline.scopes[self.model.name],
            priority=self._priority,
            compute=lambda: self._compute(encoded, digest, received_s, deadline_s=deadline_s),
        )
        if found.is_cached:
            self._progress.cached = True
            self._progress.dispatch = DispatchReason.CACHED.value
            self._progress.queue_ms = (self._pipeline.clock() - received_s) * 1000
        return found.result

    async def _compute(
        self, encoded: bytes, digest: str, received_s: float, *, deadline_s: float | None
    ) -> CachedResult:
        self._leave_cache()
        gate, workshop = self._pipeline.gate, self._pipeline.workshop
        gate.check_wait(deadline_ms=self._deadline_ms, elapsed_ms=self._elapsed_ms(), priority=self._priority)
        gate.check_place(self._priority)
        self._load = WorkEstimate(workshop.estimate_ms(self.model, encoded), self._priority)
        self._pipeline.predictor.receive(self._load)
        computation = Preprocessing(
            workshop,
            self.model,
            encoded,
            digest=digest,
            priority=self._priority,
            deadline_s=deadline_s,
        )
        try:
            completion = await computation.run()
        finally:
            self._has_run = computation.has_run
            self._note_decoding(computation, received_s)
        progress = self._progress
        progress.queue_ms += completion.queue_ms
        progress.inference_ms = completion.inference_ms
        progress.batch_size = completion.batch_size
        progress.dispatch = completion.reason.value
        prepared = computation.require_prepared()
        return CachedResult.of(completion.scores, prepared.info, prepared.warnings)

    def _leave_cache(self) -> None:
        if self._is_at_cache:
            self._is_at_cache = False
            self._pipeline.predictor.count_at_cache(-1)

    def _note_decoding(self, computation: Preprocessing, received_s: float) -> None:
        progress = self._progress
        progress.digest = computation.digest
        if computation.decode_started_s is not None and computation.decode_finished_s is not None:
            progress.queue_ms = (computation.decode_started_s - received_s) * 1000
            progress.decode_ms = (computation.decode_finished_s - computation.decode_started_s) * 1000
        if computation.prepared is not None:
            progress.image = computation.prepared.info
            progress.warnings = (*computation.prepared.warnings, *self.model.warnings)

    def _finish(self, result: CachedResult) -> Answer:
        progress = self._progress
        predictions = rank(result.scores, self.model.labels, max(self._top_k, _RECEIPT_PREDICTIONS))
        progress.image = result.image
        progress.warnings = (*result.warnings, *self.model.warnings)
        progress.top = predictions[:_RECEIPT_PREDICTIONS]
        receipt = self._build_receipt(OUTCOME_OK, self._elapsed_ms())
        self._answer = Answer(receipt, predictions[: self._top_k], result.image, receipt.warnings)
        return self._answer

    def _build_receipt(self, outcome: str, total_ms: float) -> Receipt:
        progress = self._progress
        return replace(
            self._receipt,
            outcome=outcome,
            timings=Timings(
                receive_ms=progress.receive_ms,
                decode_ms=progress.decode_ms,
                queue_ms=progress.queue_ms,
                inference_ms=progress.inference_ms,
                total_ms=total_ms,
            ),
            top=progress.top,
            batch_size=progress.batch_size,
            dispatch=progress.dispatch,
            image=progress.image,
            digest=progress.digest,
            cached=progress.cached,
            warnings=progress.warnings,
        )

    def _elapsed_ms(self) -> float:
        return (self._pipeline.clock() - self._started_s) * 1000


def rank(scores: NDArray[np.float32], labels: tuple[str, ...], count: int) -> tuple[Prediction, ...]:
    """Return the `count` best classes, by descending score, ties by class_id.

    Args:
        scores: Probabilities, shape (classes,).
        labels: As many labels as classes.
        count: How many; all classes where there are fewer.
    """
    losses = -scores
    if count < len(losses):
        # Only what can be among the best is sorted: a third of the time at a thousand classes.
        candidates = np.flatnonzero(losses <= np.partition(losses, count - 1)[count - 1])
        best = candidates[np.argsort(losses[candidates], kind="stable")][:count]
    else:
        best = np.argsort(losses, kind="stable")
    return tuple(Prediction(int(class_id), labels[class_id], float(scores[class_id])) for class_id in best)


def name_outcome(error: BaseException | None) -> str:
    """Return what the journal calls the way a request ended that was not answered."""
    if isinstance(error, LightboxError):
        return error.code
    if error is None or isinstance(error, asyncio.CancelledError):
        return "cancelled"
    return "internal_error"
