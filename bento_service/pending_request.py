"""One image's way from admission to receipt."""

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bento_service.domain import OUTCOME_OK, Answer, ModelCard, Prediction, PreparedImage, Receipt, Timings
from bento_service.errors import DeadlineExceededError, LightboxError
from bento_service.images.intake import IntakeLimits, prepare
from bento_service.offer import Offer, check_parameters
from bento_service.scheduling.admission import WaitPredictor
from bento_service.scheduling.gate import Gate
from bento_service.scheduling.scheduler import Scheduler
from bento_service.scheduling.work import Completion

_RECEIPT_PREDICTIONS = 5


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The parts that every request goes through.

    `min_oversampling` is that of `images.intake.prepare`. `finish` takes each request's receipt, and the error that
    ended it. `clock` gives seconds, monotonic.
    """

    offer: Offer
    decode_pool: Executor
    limits: IntakeLimits
    min_oversampling: int | None
    scheduler: Scheduler
    predictor: WaitPredictor
    gate: Gate
    finish: Callable[[Receipt, BaseException | None], None]
    clock: Callable[[], float]


@dataclass(frozen=True, slots=True)
class _Decoded:
    """What a decode thread made of an image, and when: an image that it refused costs time and has a digest too."""

    outcome: PreparedImage | LightboxError
    digest: str
    started_s: float
    finished_s: float


class PendingRequest:
    """One image's way through the pipeline, from its admission to its receipt; a context manager.

    Leaving the context writes the receipt, whatever happened: `ok`, the code of the `LightboxError` that left it, or
    `cancelled` where the client hung up. Used on the event loop, by one task.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        receipt: Receipt,
        model: ModelCard,
        top_k: int,
        deadline_ms: float | None,
        started_s: float,
    ) -> None:
        self.model = model
        self._pipeline = pipeline
        self._receipt = receipt
        self._top_k = top_k
        self._deadline_ms = deadline_ms
        self._started_s = started_s
        self._has_arrived = False
        self._is_counted_as_received = False

    @property
    def request_id(self) -> str:
        """The request's name in answer, log and journal."""
        return self._receipt.request_id

    def __enter__(self) -> Self:
        """Take a place in the queue."""
        self._pipeline.predictor.admit()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the place in the queue and write the receipt."""
        receipt = self._receipt
        if error is not None or receipt.outcome != OUTCOME_OK:
            total_ms = self._elapsed_ms()
            receive_ms = receipt.timings.receive_ms if self._has_arrived else total_ms
            timings = replace(receipt.timings, receive_ms=receive_ms, total_ms=total_ms)
            receipt = replace(receipt, outcome=name_outcome(error), timings=timings)
        self._pipeline.predictor.release(
            was_received=self._is_counted_as_received, is_answered=receipt.outcome == OUTCOME_OK
        )
        self._pipeline.finish(receipt, error)

    def ask_for(self, *, model: str | None, top_k: int, deadline_ms: float | None) -> None:
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
        """Decode, schedule, infer. `receive_ms` ends as this is called. Cancelling the call costs no further compute.

        The predicted wait is held against target and deadline once more, and the queue against its length: much may
        have come in while this one did.

        Args:
            encoded: The image's bytes, in any of the formats of `bento_service.images`.

        Raises:
            LightboxError: Any of the errors of admission, intake, scheduling and inference.
        """
        received_s = self._pipeline.clock()
        receive_ms = (received_s - self._started_s) * 1000
        self._update_timings(receive_ms=receive_ms)
        self._has_arrived = True
        self._pipeline.gate.check_wait(deadline_ms=self._deadline_ms, elapsed_ms=receive_ms)
        self._pipeline.gate.check_place()
        self._pipeline.predictor.receive()
        self._is_counted_as_received = True
        if self._deadline_ms is None:
            return await self._run(encoded, received_s, deadline_s=None)
        deadline_s = self._started_s + self._deadline_ms / 1000
        try:
            async with asyncio.timeout(deadline_s - received_s):
                return await self._run(encoded, received_s, deadline_s=deadline_s)
        except TimeoutError:
            raise DeadlineExceededError(
                f"The deadline of {self._deadline_ms:g} ms passed before the answer was ready. Allow more time, or "
                "send less at once.",
                deadline_ms=self._deadline_ms,
            ) from None

    async def _run(self, encoded: bytes, received_s: float, *, deadline_s: float | None) -> Answer:
        loop = asyncio.get_running_loop()
        decoded = await loop.run_in_executor(self._pipeline.decode_pool, self._decode, encoded)
        wait_for_thread_ms = (decoded.started_s - received_s) * 1000
        self._update_timings(decode_ms=(decoded.finished_s - decoded.started_s) * 1000, queue_ms=wait_for_thread_ms)
        self._receipt = replace(self._receipt, digest=decoded.digest)
        prepared = decoded.outcome
        if isinstance(prepared, LightboxError):
            raise prepared
        warnings = (*prepared.warnings, *self.model.warnings)
        self._receipt = replace(self._receipt, image=prepared.info, warnings=warnings)
        completion = await self._pipeline.scheduler.submit(self.model.name, prepared.pixels_hwc, deadline_s=deadline_s)
        return self._answer(prepared, completion, wait_for_thread_ms)

    def _decode(self, encoded: bytes) -> _Decoded:
        started_s = self._pipeline.clock()
        digest = hashlib.sha256(encoded).hexdigest()
        try:
            outcome: PreparedImage | LightboxError = prepare(
                encoded,
                self.model.recipe,
                self._pipeline.limits,
                min_oversampling=self._pipeline.min_oversampling,
            )
        except LightboxError as error:
            outcome = error
        return _Decoded(outcome, digest, started_s, self._pipeline.clock())

    def _answer(self, prepared: PreparedImage, completion: Completion, wait_for_thread_ms: float) -> Answer:
        count = max(self._top_k, _RECEIPT_PREDICTIONS)
        predictions = rank(completion.scores, self.model.labels, count)
        self._update_timings(
            queue_ms=wait_for_thread_ms + completion.queue_ms,
            inference_ms=completion.inference_ms,
            total_ms=self._elapsed_ms(),
        )
        self._receipt = replace(
            self._receipt,
            outcome=OUTCOME_OK,
            top=predictions[:_RECEIPT_PREDICTIONS],
            batch_size=completion.batch_size,
            dispatch=completion.reason.value,
        )
        return Answer(self._receipt, predictions[: self._top_k], prepared.info, self._receipt.warnings)

    def _update_timings(self, **changes: float) -> None:
        timings: Timings = replace(self._receipt.timings, **changes)
        self._receipt = replace(self._receipt, timings=timings)

    def _elapsed_ms(self) -> float:
        return (self._pipeline.clock() - self._started_s) * 1000


def rank(scores: NDArray[np.float32], labels: tuple[str, ...], count: int) -> tuple[Prediction, ...]:
    """Return the `count` best classes, by descending score, ties by class_id.

    Args:
        scores: Probabilities, shape (classes,).
        labels: As many labels as classes.
        count: How many; all classes where there are fewer.
    """
    best = np.argsort(-scores, kind="stable")[:count]
    return tuple(Prediction(int(class_id), labels[class_id], float(scores[class_id])) for class_id in best)


def name_outcome(error: BaseException | None) -> str:
    """Return what the journal calls the way a request ended that was not answered."""
    if isinstance(error, LightboxError):
        return error.code
    if error is None or isinstance(error, asyncio.CancelledError):
        return "cancelled"
    return "internal_error"
