"""Refusing, before it costs anything, what could not be answered in time."""

from bento_service.errors import DeadlineExceededError, OverloadedError
from bento_service.scheduling.admission import WaitPredictor
from bento_service.scheduling.policy import has_to_shed

_QUEUE_FULL_RETRY_S = 1.0
"""Shortest wait advised where places are taken by images still on their way in: nobody can predict a sender."""


class Gate:
    """Holds every image's predicted wait against the latency target and its client's deadline."""

    def __init__(self, predictor: WaitPredictor, *, target_ms: float, max_in_flight: int) -> None:
        """Watch one predictor.

        Args:
            predictor: Knows what is in flight and how fast it goes.
            target_ms: Longest predicted wait.
            max_in_flight: Images admitted and not yet answered, at most.
        """
        self._predictor = predictor
        self._target_ms = target_ms
        self._max_in_flight = max_in_flight

    def check_place(self) -> None:
        """Refuse an image for which there is no place.

        Raises:
            OverloadedError: Too much is in flight.
        """
        in_flight = self._predictor.in_flight
        if in_flight >= self._max_in_flight:
            wait_ms = self._predictor.predicted_wait_ms
            raise OverloadedError(
                f"{in_flight} images are in flight, and at most {self._max_in_flight} may be. "
                "Try again after the time in Retry-After.",
                retry_after_s=max(_QUEUE_FULL_RETRY_S, wait_ms / 1000),
                reason="queue_full",
                predicted_wait_ms=round(wait_ms, 1),
            )

    def check_wait(self, *, deadline_ms: float | None, elapsed_ms: float) -> None:
        """Refuse an image that would be answered too late.

        Args:
            deadline_ms: The client's own limit, or None.
            elapsed_ms: How much of that is gone.

        Raises:
            DeadlineExceededError: All of it is gone.
            OverloadedError: The predicted wait exceeds the target, or what is left until the deadline.
        """
        remaining_ms = None if deadline_ms is None else deadline_ms - elapsed_ms
        if remaining_ms is not None and remaining_ms <= 0:
            raise DeadlineExceededError(
                f"The deadline of {deadline_ms:g} ms passed while the image was received; it was dropped before any "
                "compute. Allow more time, or send less at once.",
                deadline_ms=deadline_ms,
            )
        wait_ms = self._predictor.predicted_wait_ms
        if not has_to_shed(wait_ms, target_ms=self._target_ms, remaining_ms=remaining_ms):
            return
        is_over_target = wait_ms > self._target_ms
        limit = (
            f"the latency target is {self._target_ms:g} ms."
            if is_over_target
            else f"this request's deadline of {deadline_ms:g} ms is {remaining_ms:.0f} ms away."
        )
        raise OverloadedError(
            f"{self._predictor.ahead} images are ahead, a predicted wait of {wait_ms:.0f} ms; {limit} "
            "Try again after the time in Retry-After.",
            retry_after_s=wait_ms / 1000,
            reason="target" if is_over_target else "deadline",
            predicted_wait_ms=round(wait_ms, 1),
        )
