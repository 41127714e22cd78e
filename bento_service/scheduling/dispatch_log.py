"""The last batches, for whoever wonders why they went when they did."""

from collections import deque
from dataclasses import replace

from bento_service.domain.runner import Dispatch, DispatchReason
from bento_service.scheduling.work import Batch

_LENGTH = 20


class DispatchLog:
    """Keeps the last twenty runs, without their images.

    Thread-safe: appending and copying a deque are one step each.
    """

    def __init__(self) -> None:
        self._entries: deque[tuple[float, Dispatch]] = deque(maxlen=_LENGTH)

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
        dispatch = Dispatch(
            model=batch.model,
            mode=batch.mode,
            reason=reason,
            batch_size=size,
            waiting=batch.waiting,
            predicted_ms=predicted_ms,
            inference_ms=inference_ms,
            ago_ms=0.0,
        )
        self._entries.append((started_s, dispatch))

    def describe(self, now_s: float) -> tuple[Dispatch, ...]:
        """Return them, newest first."""
        return tuple(
            replace(dispatch, ago_ms=(now_s - started_s) * 1000)
            for started_s, dispatch in reversed(self._entries.copy())
        )
