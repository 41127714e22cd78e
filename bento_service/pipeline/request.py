"""One admitted image: cache look-up or computation, then its answer and its receipt."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import TracebackType
from typing import Self, TypeVar

from bento_service.cache.base import CachedResult
from bento_service.cache.result_cache import ResultCache
from bento_service.domain.models import ModelCard
from bento_service.domain.requests import OUTCOME_OK, Answer, Prediction, PreprocessedImage, Receipt, Timings
from bento_service.domain.runner import DispatchReason
from bento_service.domain.service import ServedModel
from bento_service.errors import DeadlineExceededError, LightboxError, UnknownModelError
from bento_service.images.header import read_header
from bento_service.pipeline.admission import Permit
from bento_service.pipeline.computation import Computation, Runner
from bento_service.pipeline.model_table import ModelTable
from bento_service.pipeline.ranking import rank
from bento_service.pipeline.served_models import ServedModels, check_parameters, is_chosen
from bento_service.pipeline.shadows import ShadowedAnswer, Shadows
from bento_service.scheduling.work import Completion

T = TypeVar("T")

_RECEIPT_PREDICTIONS = 5
_MAX_BYTES_ON_LOOP = 262_144
"""A larger image is digested in a thread, as in `cache.result_cache`."""


@dataclass(eq=False)
class ImageRequest:
    """One admitted image; a context manager that holds its place and writes its receipt.

    The receipt's outcome is `ok`, the code of the `LightboxError` that left the context, or `cancelled` where the
    client disconnected. Used on the event loop, by one task.

    `permit` is the image's place, `received_at` when it was opened, in UTC, and `started_s` the runner's clock when the
    request's headers arrived. `finish` is called with the receipt, and the error that left the context.

    `models` are those of `table` when it was admitted: whatever changes meanwhile, it is answered by a version of
    these. `asked` is the name in the request, or None; `headers` decide between a champion and its canary.
    """

    table: ModelTable
    models: ServedModels
    runner: Runner
    cache: ResultCache | None
    shadows: Shadows
    permit: Permit
    finish: Callable[[Receipt, BaseException | None], None]
    request_id: str
    received_at: datetime
    asked: str | None
    model: ServedModel
    top_k: int
    deadline_ms: float | None
    started_s: float
    headers: Mapping[str, str]
    _received_s: float | None = field(default=None, init=False)
    _digest: str = field(default="", init=False)
    _work: Computation | None = field(default=None, init=False)
    _answer: Answer | None = field(default=None, init=False)
    _for_shadow: ShadowedAnswer | None = field(default=None, init=False)
    _further_ms: tuple[float, float] = field(default=(0.0, 0.0), init=False)
    _further_runs: int = field(default=0, init=False)

    def __enter__(self) -> Self:
        """Take a place among the images that are being received, and keep the models open."""
        self.table.take(self.models)
        self.permit.start_receiving()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the place, write the receipt, and offer the answer to the model's shadow."""
        if self._answer is None:
            receipt = self._make_receipt(
                name_outcome(error), model=None if isinstance(error, UnknownModelError) else self.model.card
            )
        elif error is None:
            receipt = self._answer.receipt
        else:
            receipt = replace(self._answer.receipt, outcome=name_outcome(error))
        self.permit.release(has_run=self._work is not None and self._work.has_run)
        if self._for_shadow is not None and error is None:
            self.shadows.offer(self._for_shadow)
        self.table.release(self.models)
        self.finish(receipt, error)

    def change_parameters(self, *, model: str | None, top_k: int, deadline_ms: float | None) -> None:
        """Replace the parameters of admission, for a request that has them in its body.

        Call it before `classify`, which compares the new deadline with the predicted wait.

        Raises:
            UnknownModelError: `model` is not served.
            InvalidParameterError: `top_k` or `deadline_ms` is out of range.
        """
        self.asked, self.model = model, self.models.find(model)
        check_parameters(top_k=top_k, deadline_ms=deadline_ms)
        self.top_k = top_k
        self.deadline_ms = deadline_ms

    async def classify(self, encoded: bytes) -> Answer:
        """Answer an image in any of the formats of `bento_service.images`. `receive_ms` ends when this is called.

        Cancelling the call costs no further compute. Before anything is computed, admission is checked once more: much
        may have come in while this image was received.

        Raises:
            LightboxError: Any of the errors of admission, intake, scheduling and inference.
        """
        return await self.within_deadline(lambda deadline_s: self._classify(encoded, deadline_s))

    async def within_deadline(self, work: Callable[[float | None], Awaitable[T]]) -> T:
        """Return what `work` returns for an image that has been received; `receive_ms` ends when this is called.

        `work` gets the deadline on the runner's clock, or None. Cancelling the call cancels it.

        Raises:
            DeadlineExceededError: The deadline passed first; `work` is cancelled.
        """
        received_s = self._received_s = self.runner.clock()
        if self.deadline_ms is None:
            return await work(None)
        deadline_s = self.started_s + self.deadline_ms / 1000
        try:
            async with asyncio.timeout(deadline_s - received_s):
                return await work(deadline_s)
        except TimeoutError:
            raise DeadlineExceededError(
                f"The deadline of {self.deadline_ms:g} ms passed before the answer was ready. Allow more time, or "
                "send less at once.",
                deadline_ms=self.deadline_ms,
            ) from None

    async def _classify(self, encoded: bytes, deadline_s: float | None) -> Answer:
        return self.make_answer(encoded, await self._find_result(encoded, deadline_s=deadline_s))

    async def _find_result(self, encoded: bytes, *, deadline_s: float | None) -> CachedResult:
        if self.cache is not None:
            self._digest = await self.cache.digest(encoded)
        await self.choose_version(encoded)

        async def compute() -> CachedResult:
            completion, preprocessed = await self.compute(encoded, deadline_s=deadline_s)
            return CachedResult.of(completion.scores, preprocessed.info, preprocessed.warnings)

        if self.cache is None or not self.permit.start_lookup():
            return await compute()
        return await self.cache.fetch(
            self._digest,
            scope=self.model.cache_scope,
            priority=self.permit.priority,
            compute=compute,
        )

    async def choose_version(self, encoded: bytes) -> None:
        """Take the canary in place of the champion for its share of the requests."""
        found = self.models.find_canary(self.asked)
        if found is None:
            return
        canary, version = found
        if canary.header is not None:
            value = self.headers.get(canary.header, "")
        else:
            value = self._digest = self._digest or await _digest(encoded)
        # Without the header nobody tells callers apart: the champion answers.
        if value and is_chosen(value, purpose="canary", share=canary.share):
            self.model = version

    async def compute(
        self, encoded: bytes, *, deadline_s: float | None, wants_features: bool = False, further_runs: int = 0
    ) -> tuple[Completion, PreprocessedImage]:
        """Decode the image and run it; with `wants_features` the completion has them where the model does.

        `further_runs` of the model are counted as work from the start; see `Permit.start_computing`.

        Raises:
            LightboxError: Any of the errors of admission, intake, scheduling and inference.
        """
        self.permit.check_again(deadline_ms=self.deadline_ms, elapsed_ms=self._elapsed_ms())
        header, estimator, key = read_header(encoded), self.runner.estimator, self.model.card.key
        self.permit.start_computing(
            estimator.estimate_ms(key, len(encoded), header),
            further_runs=further_runs,
            further_run_ms=estimator.estimate_inference_ms(key),
        )
        self._work = Computation(
            self.runner,
            self.model.card,
            encoded,
            header,
            self._digest,
            self.permit.priority,
            deadline_s,
            wants_features,
        )
        return await self._work.run()

    def note_further_runs(self, count: int, *, queue_ms: float, inference_ms: float) -> None:
        """Add further runs of the image to the receipt: how long they waited, and how long they took after that."""
        self._further_runs, self._further_ms = count, (queue_ms, inference_ms)

    def make_answer(self, encoded: bytes, result: CachedResult) -> Answer:
        """Return the answer for the image's scores, and keep its receipt."""
        predictions = rank(result.scores, self.model.card.labels, max(self.top_k, _RECEIPT_PREDICTIONS))
        receipt = self._make_receipt(
            OUTCOME_OK, model=self.model.card, result=result, top=predictions[:_RECEIPT_PREDICTIONS]
        )
        self._answer = Answer(receipt, predictions[: self.top_k], result.image, receipt.warnings, result.scores)
        if (found := self.models.find_shadow(self.model)) and is_chosen(
            receipt.digest, purpose="shadow", share=found[0].share
        ):
            self._for_shadow = ShadowedAnswer(
                self.models, self.model.card, found[1].card, self.request_id, encoded, receipt.digest, result.scores
            )
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
        total_ms = self._elapsed_ms()
        received_s = self._received_s
        receive_ms = total_ms if received_s is None else (received_s - self.started_s) * 1000
        if work is not None and received_s is not None:
            digest = work.digest
            if work.decode_started_s is not None and work.decode_finished_s is not None:
                decode_ms = (work.decode_finished_s - work.decode_started_s) * 1000
                queue_ms = (work.decode_started_s - received_s) * 1000
            if work.preprocessed is not None:
                image, warnings = work.preprocessed.info, work.preprocessed.warnings
            if work.completion is not None:
                batch_size, dispatch = work.completion.batch_size, work.completion.reason.value
                queue_ms += work.completion.queue_ms + self._further_ms[0]
                inference_ms = work.completion.inference_ms + self._further_ms[1]
        is_cached = result is not None and work is None
        if is_cached:
            dispatch, queue_ms = DispatchReason.CACHED.value, total_ms - receive_ms
        return Receipt(
            request_id=self.request_id,
            received_at=self.received_at,
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
            warnings=(*warnings, *self.model.card.warnings) if image else (),
            score_kind=self.model.card.score_kind,
            further_runs=self._further_runs,
        )

    def _elapsed_ms(self) -> float:
        return (self.runner.clock() - self.started_s) * 1000


async def _digest(encoded: bytes) -> str:
    """Return the SHA-256 of an image's bytes in hex."""
    if len(encoded) <= _MAX_BYTES_ON_LOOP:
        return hashlib.sha256(encoded).hexdigest()
    return await asyncio.to_thread(lambda: hashlib.sha256(encoded).hexdigest())


def name_outcome(error: BaseException | None) -> str:
    """Return the outcome of a request that was not answered."""
    if isinstance(error, LightboxError):
        return error.code
    if error is None or isinstance(error, asyncio.CancelledError):
        return "cancelled"
    return "internal_error"
