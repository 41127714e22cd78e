"""How long an image that came in now would wait: the number of images ahead times the time between answers."""

import threading
from collections.abc import Callable

_WINDOW_ANSWERS = 8
"""Fewest answers between two looks at the speed: single gaps say nothing where batches end together."""
_WEIGHT = 0.3
"""Weight of one window in the running mean: half-forgotten after two, so a change of load is learnt in a blink."""
_OUTLIER = 4.0
"""One window counts as at most this many times the mean: a stall of the machine is no change of speed."""
_MIN_INTERVAL_MS = 0.05
"""Shortest interval ever believed, so that the way back up is short; no worker answers 20,000 images a second."""


class WaitPredictor:
    """Predicts waits from the measured time between answers while images are queued (Little's law).

    The interval covers everything between two answers (decoding, inference and whatever else the machine does), so it
    needs no model of which of them is the bottleneck. An image counts from its last byte on: what a slow sender has
    yet to send keeps nobody waiting. Thread-safe.
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
            capacity: Images that run at the same time; with fewer received the machine is not at full load.
            clock: Seconds, monotonic.
            on_change: Told the number of images in flight whenever it changes.
        """
        self._interval_ms = max(_MIN_INTERVAL_MS, initial_interval_ms)
        self._capacity = capacity
        self._clock = clock
        self._on_change = on_change
        self._lock = threading.Lock()
        self._in_flight = 0
        self._received = 0
        self._last_answer_s = clock()
        self._busy_since_s = self._last_answer_s
        # Two full rounds of the lanes: wherever a window cuts a batch in two, it holds at least one whole round.
        self._window_size = max(_WINDOW_ANSWERS, 2 * capacity)
        self._begin_window()

    @property
    def in_flight(self) -> int:
        """Images admitted and not yet answered."""
        return self._in_flight

    @property
    def receiving(self) -> int:
        """Images admitted whose last byte has not come yet."""
        return self._in_flight - self._received

    @property
    def ahead(self) -> int:
        """Images received to their last byte and not yet answered: those that a further one would wait for."""
        return self._received

    @property
    def predicted_wait_ms(self) -> float:
        """Time until an image that came in now would be answered, its own work left out."""
        return self._received * self._interval_ms

    def admit(self) -> None:
        """Count one image in, before its bytes are read."""
        with self._lock:
            self._in_flight += 1
            self._on_change(self._in_flight)

    def receive(self) -> None:
        """Count one admitted image as received: from now on others wait for it."""
        with self._lock:
            if self._received == 0:
                self._busy_since_s = self._clock()
            self._received += 1

    def release(self, *, was_received: bool, is_answered: bool) -> None:
        """Count one image out, as far as it came; only an answered one says something about speed."""
        with self._lock:
            self._in_flight -= 1
            self._on_change(self._in_flight)
            if is_answered:
                self._learn()
            if was_received:
                self._received -= 1

    def _begin_window(self) -> None:
        self._answers = 0
        self._busy_ms = 0.0
        self._is_saturated = True

    def _learn(self) -> None:
        now_s = self._clock()
        self._busy_ms += (now_s - max(self._last_answer_s, self._busy_since_s)) * 1000
        self._last_answer_s = now_s
        self._answers += 1
        self._is_saturated &= self._received > self._capacity
        if self._answers < self._window_size:
            return
        sample_ms = self._busy_ms / self._answers
        # Below saturation the gap between answers is the clients', not ours: it can only show that we are faster.
        if self._is_saturated or sample_ms < self._interval_ms:
            sample_ms = min(sample_ms, _OUTLIER * self._interval_ms)
            self._interval_ms += _WEIGHT * (sample_ms - self._interval_ms)
            self._interval_ms = max(_MIN_INTERVAL_MS, self._interval_ms)
        self._begin_window()
