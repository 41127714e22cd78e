"""Admission: reject images that could not be answered in time, before they cost anything."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum, auto

from bento_service.domain.requests import Priority
from bento_service.errors import DeadlineExceededError, OverloadedError
from bento_service.pipeline.wait_predictor import WaitPredictor

WAIT_SHARE = 0.7
"""Longest predicted wait as a share of the latency target: under overload every admitted image waits as long as is
allowed, and the rest is for its own batch and for errors of the prediction."""
_NO_PLACE_RETRY_S = 1.0
"""Shortest wait advised where there is no place: freeing one may take far longer than the predicted wait."""


class Phase(StrEnum):
    """Where an image with a place stands."""

    RECEIVING = auto()
    """Its bytes arrive, or its digest is computed."""
    LOOKING_UP = auto()
    """The cache is asked, or an identical image is computed."""
    COMPUTING = auto()
    """It waits for a decode thread or a lane, or is on one."""


class Permit:
    """An admitted image's place, from `start_receiving` to `release`. Used on the event loop."""

    def __init__(self, admission: "Admission", priority: Priority) -> None:
        self.priority = priority
        self._admission = admission
        self._phase: Phase | None = None
        self._work_ms = 0.0

    def start_receiving(self) -> None:
        """Take a place among the images that are being received."""
        self._move(Phase.RECEIVING)

    def start_lookup(self) -> bool:
        """Move to the cache; return False where too many images are there already."""
        if not self._admission.has_place_at_cache:
            return False
        self._move(Phase.LOOKING_UP)
        return True

    def check_again(self, *, deadline_ms: float | None = None, elapsed_ms: float = 0.0) -> None:
        """Check a received image, since many others may have come in meanwhile; see `Admission.check`."""
        self._admission.check(self.priority, deadline_ms=deadline_ms, elapsed_ms=elapsed_ms, is_received=True)

    def start_computing(self, work_ms: float) -> None:
        """Move to the decode threads and lanes: from now on others wait for this image's work."""
        self._move(Phase.COMPUTING)
        self._work_ms = work_ms
        self._admission.predictor.start(work_ms, self.priority)

    @contextmanager
    def count_further_run(self, work_ms: float) -> Iterator[None]:
        """Count a further run of a computing image, which others wait for as they do for an image of its own."""
        predictor, has_run = self._admission.predictor, False
        predictor.start(work_ms, self.priority)
        try:
            yield
            has_run = True
        finally:
            predictor.finish(work_ms, self.priority, has_run=has_run)

    def release(self, *, has_run: bool = False) -> None:
        """Free the place; `has_run` tells whether a lane ran the image, whatever the result."""
        if self._phase is Phase.COMPUTING:
            self._admission.predictor.finish(self._work_ms, self.priority, has_run=has_run)
        self._move(None)

    def _move(self, phase: Phase | None) -> None:
        self._admission.count(self._phase, phase)
        self._phase = phase


class Admission:
    """Compares every image's predicted wait with the latency target and its client's deadline.

    Images that are received and images that wait have places of their own, so that clients which send slowly, or
    nothing at all, take no place in the queue. Bulk images may fill half of the queue, so that they never keep
    interactive ones out. Used on the event loop.
    """

    def __init__(
        self,
        predictor: WaitPredictor,
        *,
        target_ms: float,
        max_queued: int,
        max_receiving: int,
        on_change: Callable[[int], None] = lambda in_flight: None,
    ) -> None:
        """Start with no image.

        Args:
            predictor: Predicts the wait.
            target_ms: The latency target.
            max_queued: Images that wait for a decode thread or a lane or are on one, at most.
            max_receiving: Images being received, at most.
            on_change: Called with the number of images in flight whenever it changes.
        """
        self.predictor = predictor
        self._target_ms = target_ms
        self._max_queued = max_queued
        self._max_receiving = max_receiving
        self._on_change = on_change
        self._images = dict.fromkeys(Phase, 0)

    @property
    def in_flight(self) -> int:
        """Images that have a place."""
        return sum(self._images.values())

    @property
    def is_overloaded(self) -> bool:
        """Whether `check` rejects an interactive image without a deadline; costs a few microseconds."""
        return (
            self._images[Phase.RECEIVING] >= self._max_receiving
            or self._images[Phase.COMPUTING] >= self._max_queued
            or self.predictor.predict_wait_ms() > WAIT_SHARE * self._target_ms
        )

    @property
    def has_time_to_spare(self) -> bool:
        """Whether an interactive image would wait for less than half of what is allowed."""
        return not self.is_overloaded and self.predictor.predict_wait_ms() <= WAIT_SHARE * self._target_ms / 2

    @property
    def has_place_at_cache(self) -> bool:
        """Whether one more image may be looked up: as many may as may be received at a time."""
        return self._images[Phase.LOOKING_UP] < self._max_receiving

    def admit(
        self, priority: Priority = Priority.INTERACTIVE, *, deadline_ms: float | None = None, elapsed_ms: float = 0.0
    ) -> Permit:
        """Admit an image before its bytes are read. Raises as `check`."""
        self.check(priority, deadline_ms=deadline_ms, elapsed_ms=elapsed_ms)
        return Permit(self, priority)

    def count(self, old: Phase | None, new: Phase | None) -> None:
        """Move an image from one phase to another; its permit calls this. None is no place."""
        if old is not None:
            self._images[old] -= 1
        if new is not None:
            self._images[new] += 1
        if (old is None) != (new is None):
            self._on_change(self.in_flight)

    def check(
        self,
        priority: Priority = Priority.INTERACTIVE,
        *,
        deadline_ms: float | None = None,
        elapsed_ms: float = 0.0,
        is_received: bool = False,
    ) -> None:
        """Reject an image that would be answered too late, or for which there is no place.

        Args:
            priority: Interactive images pass bulk ones, and wait for fewer.
            deadline_ms: The client's own limit, or None.
            elapsed_ms: How much of that has passed.
            is_received: Whether all of it has arrived, so that it needs no place among those being received.

        Raises:
            DeadlineExceededError: The deadline has passed.
            OverloadedError: Too many images are in flight, or the predicted wait exceeds what the target allows or what
                is left until the deadline.
        """
        remaining_ms = None if deadline_ms is None else deadline_ms - elapsed_ms
        if remaining_ms is not None and remaining_ms <= 0:
            raise DeadlineExceededError(
                f"The deadline of {deadline_ms:g} ms passed while the image was received; it was dropped before any "
                "compute. Allow more time, or send less at once.",
                deadline_ms=deadline_ms,
            )
        receiving, computing, bulk = self._images[Phase.RECEIVING], self._images[Phase.COMPUTING], self.predictor.bulk
        if not is_received and receiving >= self._max_receiving:
            raise self._reject_for_place(f"{receiving} images are being received", "receiving")
        if computing >= self._max_queued:
            raise self._reject_for_place(f"{computing} images wait for their answers", "queue_full")
        if priority is Priority.BULK and bulk >= max(1, self._max_queued // 2):
            raise self._reject_for_place(f"{bulk} bulk images wait for their answers", "queue_full")
        wait_ms = self.predictor.predict_wait_ms(priority)
        longest_ms = WAIT_SHARE * self._target_ms
        if wait_ms > longest_ms:
            limit = f"the latency target of {self._target_ms:g} ms allows {longest_ms:.0f} ms of waiting"
            raise self._reject_for_wait(wait_ms, priority, limit, "target")
        if remaining_ms is not None and wait_ms > remaining_ms:
            limit = f"this request's deadline of {deadline_ms:g} ms is {remaining_ms:.0f} ms away"
            raise self._reject_for_wait(wait_ms, priority, limit, "deadline")

    def _reject_for_place(self, finding: str, reason: str) -> OverloadedError:
        wait_ms = self.predictor.predict_wait_ms()
        return OverloadedError(
            f"{finding}, as many as may be at a time. Try again after the time in Retry-After.",
            retry_after_s=max(_NO_PLACE_RETRY_S, wait_ms / 1000),
            reason=reason,
            predicted_wait_ms=round(wait_ms, 1),
        )

    def _reject_for_wait(self, wait_ms: float, priority: Priority, limit: str, reason: str) -> OverloadedError:
        return OverloadedError(
            f"{self.predictor.count_ahead(priority)} images are ahead, a predicted wait of {wait_ms:.0f} ms; {limit}. "
            "Try again after the time in Retry-After.",
            retry_after_s=wait_ms / 1000,
            reason=reason,
            predicted_wait_ms=round(wait_ms, 1),
        )
