"""How long an image that came in now would wait: the number of images ahead times the time between answers."""

import threading
from collections.abc import Callable

_WEIGHT = 0.05
"""Weight of one answer in the running mean: half-forgotten after 14, so a change of load is learnt in a blink."""
_OUTLIER = 4.0
"""One sample counts as at most this many times the mean: a stall of the machine is no change of speed."""


class WaitPredictor:
    """Predicts waits from the measured time between answers while images are queued (Little's law).

    The interval covers everything between two answers (HTTP, decoding, inference and whatever else the machine does),
    so it needs no model of which of them is the bottleneck. Thread-safe.
    """

    def __init__(
        self,
        *,
        initial_interval_ms: float,
        capacity: int,
        clock: Callable[[], float],
        on_change: Callable[[int], None] = lambda in_flight: None,
    ) -> None:
        """Start from a measured interval.

        Args:
            initial_interval_ms: Time between answers at full load, as warm-up measured it; more than 0.
            capacity: Images that run at the same time; with fewer in flight the machine is not at full load.
            clock: Seconds, monotonic.
            on_change: Told the number of images in flight whenever it changes.
        """
        self._interval_ms = initial_interval_ms
        self._capacity = capacity
        self._clock = clock
        self._on_change = on_change
        self._lock = threading.Lock()
        self._in_flight = 0
        self._last_answer_s = clock()
        self._busy_since_s = self._last_answer_s

    @property
    def in_flight(self) -> int:
        """Images admitted and not yet answered."""
        return self._in_flight

    @property
    def predicted_wait_ms(self) -> float:
        """Time until an image that came in now would be answered, its own work left out."""
        return self._in_flight * self._interval_ms

    def admit(self) -> None:
        """Count one image in."""
        with self._lock:
            if self._in_flight == 0:
                self._busy_since_s = self._clock()
            self._in_flight += 1
            self._on_change(self._in_flight)

    def release(self, *, answered: bool) -> None:
        """Count one image out; only an answered one says something about speed."""
        with self._lock:
            before = self._in_flight
            self._in_flight -= 1
            self._on_change(self._in_flight)
            if answered:
                self._learn(before)

    def _learn(self, in_flight: int) -> None:
        now_s = self._clock()
        since_s = max(self._last_answer_s, self._busy_since_s)
        sample_ms = (now_s - since_s) * 1000
        self._last_answer_s = now_s
        is_saturated = in_flight > self._capacity
        # Below saturation the gap between answers is the clients', not ours: it can only show that we are faster.
        if is_saturated or sample_ms < self._interval_ms:
            sample_ms = min(sample_ms, _OUTLIER * self._interval_ms)
            self._interval_ms += _WEIGHT * (sample_ms - self._interval_ms)
