"""The last batches, for whoever wonders why they went when they did."""

from collections import deque
from dataclasses import dataclass

from bento_service.domain import Dispatch, DispatchReason
from bento_service.scheduling.work import Batch

_LENGTH = 20


@dataclass(frozen=True, slots=True)
class _Entry:
    batch: Batch
    size: int
    reason: DispatchReason
    predicted_ms: float
    inference_ms: float
    started_s: float


class DispatchLog:
    """Keeps the last twenty runs. Thread-safe: appending and copying a deque are one step each."""

    def __init__(self) -> None:
        self._entries: deque[_Entry] = deque(maxlen=_LENGTH)

    def note(
        self,
        batch: Batch,
        size: int,
        reason: DispatchReason,
        *,
        predicted_ms: float,
        inference_ms: float,
        started_s: float,
    ) -> None:
        """Take note of a run of `size` images of a batch."""
        self._entries.append(_Entry(batch, size, reason, predicted_ms, inference_ms, started_s))

    def describe(self, now_s: float) -> tuple[Dispatch, ...]:
        """Return them, newest first."""
        return tuple(
            Dispatch(
                model=entry.batch.model,
                mode=entry.batch.mode,
                reason=entry.reason,
                batch_size=entry.size,
                waiting=entry.batch.waiting,
                predicted_ms=entry.predicted_ms,
                inference_ms=entry.inference_ms,
                ago_ms=(now_s - entry.started_s) * 1000,
            )
            for entry in reversed(self._entries.copy())
        )
