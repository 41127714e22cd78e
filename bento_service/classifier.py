"""The one pipeline from encoded bytes to an answer and its receipt. No HTTP in it."""

from types import TracebackType

from bento_service.domain import Answer, ModelCard


class PendingRequest:
    """One image's way through the pipeline, from its admission to its receipt; a context manager.

    Leaving the context writes the receipt, whatever happened: `ok`, the code of the `LightboxError` that left it, or
    `cancelled` where the client hung up.
    """

    request_id: str
    model: ModelCard

    def __enter__(self) -> "PendingRequest":
        """Return itself."""
        raise NotImplementedError

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Record the receipt and free the place in the queue."""

    async def classify(self, encoded: bytes) -> Answer:
        """Decode, schedule, infer. `receive_ms` ends as this is called. Cancelling the call costs no further compute.

        Raises:
            LightboxError: Any of the errors of intake, scheduling and inference.
        """
        raise NotImplementedError


class Classifier:
    """Every served model behind one door. Used on one event loop."""

    def open(
        self,
        *,
        request_id: str,
        model: str | None,
        top_k: int,
        deadline_ms: float | None,
        started_s: float,
    ) -> PendingRequest:
        """Admit one image before any of its bytes are read; a refusal leaves a receipt too.

        Args:
            request_id: Names the request in answer, log and journal.
            model: A served model's name, or None for the default.
            top_k: Predictions wanted, 1 to the model's number of classes.
            deadline_ms: The client's own limit on `total_ms`, or None.
            started_s: `time.perf_counter()` as the request's headers arrived.

        Raises:
            UnknownModelError: `model` is not served.
            InvalidParameterError: `top_k` or `deadline_ms` is out of range.
            OverloadedError: The predicted wait exceeds target or deadline.
            NotReadyError: Still loading.
            DrainingError: Shutting down.
        """
        raise NotImplementedError
