"""A circuit breaker: stops calls to something that fails, until a trial succeeds (ADR 24)."""

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class CircuitBreaker:
    """Opens after `max_failures` in a row. While open, allows one trial after each pause; a success closes it.

    The pause doubles after each trial, up to `max_pause_s`. Calls that overlap and fail count as one failure: whatever
    delayed one of them, such as a busy event loop, delayed them all. Safe to share between threads.
    """

    def __init__(
        self, *, max_failures: int, min_pause_s: float, max_pause_s: float, clock: Callable[[], float]
    ) -> None:
        """Start closed. `clock` is monotonic, in seconds."""
        self._max_failures = max_failures
        self._min_pause_s = min_pause_s
        self._max_pause_s = max_pause_s
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._failures_ever = 0
        self._pause_s = min_pause_s
        self._next_trial_s = 0.0
        self._last_error: Exception | None = None

    @property
    def is_open(self) -> bool:
        """Whether the last `max_failures` calls failed."""
        return self._failures >= self._max_failures

    def call(self, function: Callable[[], T], failures: tuple[type[Exception], ...]) -> T:
        """Return what `function` returns; while open, raise the last failure without calling it.

        Raises:
            Exception: What `function` raises. Only exceptions of `failures` count.
        """
        if not self.allows() and self._last_error is not None:
            raise self._last_error.with_traceback(None)
        started = self.start()
        try:
            result = function()
        except failures as error:
            self._last_error = error
            self.fail(started)
            raise
        self.succeed()
        return result

    def allows(self) -> bool:
        """Return whether to make a call: always while closed; while open once a pause, even if that never reports."""
        with self._lock:
            if not self.is_open:
                return True
            now_s = self._clock()
            if now_s < self._next_trial_s:
                return False
            self._pause_s = min(self._max_pause_s, 2 * self._pause_s)
            self._next_trial_s = now_s + self._pause_s
            return True

    def start(self) -> int:
        """Return a token for a call that starts now, to pass to `fail`."""
        return self._failures_ever

    def succeed(self) -> bool:
        """Count a success; return whether it closed the breaker.

        A success while closed resets the pause. So the pause grows further if only trials succeed.
        """
        with self._lock:
            was_open = self.is_open
            if not was_open:
                self._pause_s = self._min_pause_s
            self._failures = 0
            return was_open

    def fail(self, started: int) -> bool:
        """Count the failure of a call, unless another one was counted since it started; return whether it opened it."""
        with self._lock:
            if started != self._failures_ever:
                return False
            self._failures += 1
            self._failures_ever += 1
            if self.is_open:
                self._next_trial_s = self._clock() + self._pause_s
            return self._failures == self._max_failures
