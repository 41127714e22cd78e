"""Refusing, before it costs anything, what could not be answered in time."""

from bento_service.domain.requests import Priority
from bento_service.errors import DeadlineExceededError, OverloadedError
from bento_service.pipeline.wait_predictor import WaitPredictor
from bento_service.scheduling.policy import WAIT_SHARE, has_to_shed

_NO_PLACE_RETRY_S = 1.0
"""Shortest wait advised where there is no place: the predicted wait may be far below what freeing one takes."""


class Gate:
    """Holds every image's predicted wait against the latency target and its client's deadline.

    Images that wait and images that still arrive have places of their own: clients that send slowly, or nothing at
    all, take none from those that have sent. Bulk images may fill half of the queue, so that they never shut out
    whoever waits for an answer.
    """

    def __init__(self, predictor: WaitPredictor, *, target_ms: float, max_queued: int, max_receiving: int) -> None:
        """Watch one predictor.

        Args:
            predictor: Knows what is in flight and how fast it goes.
            target_ms: Longest predicted wait.
            max_queued: Images received and not yet answered, at most.
            max_receiving: Images admitted and not yet received, at most.
        """
        self._predictor = predictor
        self._target_ms = target_ms
        self._max_queued = max_queued
        self._max_receiving = max_receiving

    @property
    def is_closed(self) -> bool:
        """Whether the checks refuse an interactive image without a deadline; costs a few microseconds."""
        predictor = self._predictor
        return (
            predictor.receiving >= self._max_receiving
            or predictor.received >= self._max_queued
            or has_to_shed(predictor.predicted_wait_ms, target_ms=self._target_ms, remaining_ms=None)
        )

    def check_receiving(self) -> None:
        """Refuse an image while too many others arrive.

        Raises:
            OverloadedError: They are as many as may be.
        """
        if self._predictor.receiving >= self._max_receiving:
            raise self._refuse_for_place(f"{self._predictor.receiving} images are being received", "receiving")

    def has_place_at_cache(self) -> bool:
        """Whether one more may wait for its look-up or for an identical image; as many may as may arrive."""
        return self._predictor.at_cache < self._max_receiving

    def check_place(self, priority: Priority = Priority.INTERACTIVE) -> None:
        """Refuse an image for which the queue has no place.

        Raises:
            OverloadedError: Too many are received and not yet answered.
        """
        if self._predictor.received >= self._max_queued:
            raise self._refuse_for_place(f"{self._predictor.received} images wait for their answers", "queue_full")
        if priority is Priority.BULK and self._predictor.bulk_received >= max(1, self._max_queued // 2):
            raise self._refuse_for_place(
                f"{self._predictor.bulk_received} bulk images wait for their answers", "queue_full"
            )

    def check_wait(
        self, priority: Priority = Priority.INTERACTIVE, *, deadline_ms: float | None, elapsed_ms: float
    ) -> None:
        """Refuse an image that would be answered too late.

        Args:
            priority: The image's own; interactive ones pass bulk ones, and wait for fewer.
            deadline_ms: The client's own limit, or None.
            elapsed_ms: How much of that is gone.

        Raises:
            DeadlineExceededError: All of it is gone.
            OverloadedError: The predicted wait exceeds what the target allows, or what is left until the deadline.
        """
        remaining_ms = None if deadline_ms is None else deadline_ms - elapsed_ms
        if remaining_ms is not None and remaining_ms <= 0:
            raise DeadlineExceededError(
                f"The deadline of {deadline_ms:g} ms passed while the image was received; it was dropped before any "
                "compute. Allow more time, or send less at once.",
                deadline_ms=deadline_ms,
            )
        wait_ms = self._predictor.predict_wait_ms(priority)
        if not has_to_shed(wait_ms, target_ms=self._target_ms, remaining_ms=remaining_ms):
            return
        longest_ms = WAIT_SHARE * self._target_ms
        is_over_target = wait_ms > longest_ms
        limit = (
            f"the latency target of {self._target_ms:g} ms allows {longest_ms:.0f} ms of waiting."
            if is_over_target
            else f"this request's deadline of {deadline_ms:g} ms is {remaining_ms:.0f} ms away."
        )
        raise OverloadedError(
            f"{self._predictor.count_ahead(priority)} images are ahead, a predicted wait of {wait_ms:.0f} ms; {limit} "
            "Try again after the time in Retry-After.",
            retry_after_s=wait_ms / 1000,
            reason="target" if is_over_target else "deadline",
            predicted_wait_ms=round(wait_ms, 1),
        )

    def _refuse_for_place(self, finding: str, reason: str) -> OverloadedError:
        wait_ms = self._predictor.predicted_wait_ms
        return OverloadedError(
            f"{finding}, as many as may be at a time. Try again after the time in Retry-After.",
            retry_after_s=max(_NO_PLACE_RETRY_S, wait_ms / 1000),
            reason=reason,
            predicted_wait_ms=round(wait_ms, 1),
        )
