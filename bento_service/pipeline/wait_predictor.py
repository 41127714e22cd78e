"""How long an image that came in now would wait: the work ahead of it times the measured time for a unit of work."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from bento_service.domain.requests import Priority

_WINDOW_ANSWERS = 8
"""Fewest answers between two looks at the pace: single gaps say nothing where batches end together."""
_WEIGHT = 0.3
"""Weight of one window in the running mean: half-forgotten after two, so a change of load is learnt in a blink."""
_OUTLIER = 4.0
"""One window counts as at most this many times the mean: a stall of the machine is no change of pace."""
_MIN_PACE = 0.005
"""Shortest time for a unit ever believed, as a share of the first: so the way back up is short."""


@dataclass(frozen=True, slots=True)
class WorkEstimate:
    """What one image asks of the machine: its work, see `WorkEstimator`, and its priority."""

    work_ms: float
    priority: Priority = Priority.INTERACTIVE


class WaitPredictor:
    """Predicts waits from the measured time for a unit of work while images are queued (Little's law on work).

    The measured time covers everything between two answers (decoding, inference and whatever else the machine does),
    so it needs no model of which of them is the bottleneck; units of work rather than images keep it true where a
    large photograph comes after small ones. An image counts from its last byte on: what a slow sender has yet to
    send keeps nobody waiting. Interactive images wait for bulk ones only as far as those are being worked on
    already. Thread-safe.
    """

    def __init__(
        self,
        *,
        capacity: int,
        round_size: int = 0,
        clock: Callable[[], float],
        initial_pace: float = 1.0,
        on_change: Callable[[int], None] = lambda in_flight: None,
    ) -> None:
        """Start from a first guess.

        Args:
            capacity: Images that run at the same time; with fewer received the machine is not at full load.
            round_size: Images that are answered together where every lane has its largest batch, if that is more.
            clock: Seconds, monotonic.
            initial_pace: Milliseconds for a millisecond of work at full load; more than 0.
            on_change: Told the number of images in flight whenever it changes.
        """
        self._pace = initial_pace
        self._min_pace = initial_pace * _MIN_PACE
        self._capacity = capacity
        self._clock = clock
        self._on_change = on_change
        self._lock = threading.Lock()
        self._in_flight = 0
        self._at_cache = 0
        self._count = dict.fromkeys(Priority, 0)
        self._work_ms = dict.fromkeys(Priority, 0.0)
        self._last_answer_s = clock()
        self._busy_since_s = self._last_answer_s
        # Two full rounds of the lanes: wherever a window cuts a batch in two, it holds at least one whole round.
        self._window_size = max(_WINDOW_ANSWERS, 2 * capacity, 2 * round_size)
        self._begin_window()

    @property
    def in_flight(self) -> int:
        """Images admitted and not yet answered."""
        return self._in_flight

    @property
    def receiving(self) -> int:
        """Images admitted whose last byte has not come yet."""
        return self._in_flight - self.received - self._at_cache

    @property
    def at_cache(self) -> int:
        """Images that are looked up, or wait for an identical one: they have come in and ask for no work."""
        return self._at_cache

    @property
    def received(self) -> int:
        """Images received to their last byte and not yet answered."""
        return sum(self._count.values())

    @property
    def bulk_received(self) -> int:
        """Bulk images among them."""
        return self._count[Priority.BULK]

    @property
    def ahead(self) -> int:
        """Those that a further interactive image would wait for."""
        return self.count_ahead(Priority.INTERACTIVE)

    @property
    def predicted_wait_ms(self) -> float:
        """Time until an interactive image that came in now would be answered, its own work left out."""
        return self.predict_wait_ms(Priority.INTERACTIVE)

    def count_ahead(self, priority: Priority) -> int:
        """Count the images that a further one of this priority would wait for."""
        if priority is Priority.BULK:
            return self.received
        return self._count[Priority.INTERACTIVE] + min(self._capacity, self._count[Priority.BULK])

    def predict_wait_ms(self, priority: Priority) -> float:
        """Predict when an image of this priority that came in now would be answered, its own work left out."""
        with self._lock:
            bulk, bulk_ms = self._count[Priority.BULK], self._work_ms[Priority.BULK]
            if priority is Priority.INTERACTIVE and bulk > self._capacity:
                bulk_ms *= self._capacity / bulk
            return self._pace * (self._work_ms[Priority.INTERACTIVE] + bulk_ms)

    def admit(self) -> None:
        """Count one image in, before its bytes are read."""
        with self._lock:
            self._in_flight += 1
            self._on_change(self._in_flight)

    def count_at_cache(self, delta: int) -> None:
        """Count images that begin to wait at the cache, or below zero, that no longer do."""
        with self._lock:
            self._at_cache += delta

    def receive(self, load: WorkEstimate) -> None:
        """Count one admitted image as received: from now on others wait for it."""
        with self._lock:
            if not any(self._count.values()):
                self._busy_since_s = self._clock()
            self._count[load.priority] += 1
            self._work_ms[load.priority] += load.work_ms

    def release(self, load: WorkEstimate | None, *, has_run: bool) -> None:
        """Count one image out.

        Args:
            load: What it was received with; None where it never was.
            has_run: Whether its work was done, whatever came of it: only that says something about the pace.
        """
        with self._lock:
            self._in_flight -= 1
            self._on_change(self._in_flight)
            if load is None:
                return
            if has_run:
                self._learn(load)
            self._count[load.priority] -= 1
            self._work_ms[load.priority] -= load.work_ms
            # Sums of floats drift; an empty line is the moment to forget what they have gathered.
            if self._count[load.priority] == 0:
                self._work_ms[load.priority] = 0.0

    def _begin_window(self) -> None:
        self._answers = 0
        self._done_ms = 0.0
        self._busy_ms = 0.0
        self._is_saturated = True

    def _learn(self, load: WorkEstimate) -> None:
        now_s = self._clock()
        self._busy_ms += (now_s - max(self._last_answer_s, self._busy_since_s)) * 1000
        self._last_answer_s = now_s
        self._answers += 1
        self._done_ms += load.work_ms
        self._is_saturated &= sum(self._count.values()) > self._capacity
        if self._answers < self._window_size:
            return
        pace = self._busy_ms / self._done_ms if self._done_ms > 0 else self._pace
        # Below saturation the gap between answers is the clients', not ours: it can only show that we are faster.
        if self._is_saturated or pace < self._pace:
            pace = min(pace, _OUTLIER * self._pace)
            self._pace = max(self._min_pace, self._pace + _WEIGHT * (pace - self._pace))
        self._begin_window()
