"""Keeps a service that is down from costing a time-out on every rerun of a page."""

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class CircuitBreaker:
    """Calls through while calls succeed; after a failure repeats that failure, unasked, for `cool_down_s`.

    Then one caller may try again while the others still get the failure. Safe to share between threads.

    Args:
        failures: The exceptions that open it; others pass through and count as success.
        cool_down_s: How long it stays open after a failure, in seconds.
        clock_s: A monotonic clock, in seconds.
    """

    def __init__(
        self, failures: tuple[type[Exception], ...], *, cool_down_s: float, clock_s: Callable[[], float]
    ) -> None:
        self._failures = failures
        self._cool_down_s = cool_down_s
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._failure: Exception | None = None
        self._closed_from_s = 0.0

    def call(self, function: Callable[[], T]) -> T:
        """Return what `function` returns.

        Raises:
            Exception: What `function` raises, or, while open, the failure that opened it.
        """
        self._refuse_while_open()
        try:
            result = function()
        except self._failures as failure:
            self._open(failure)
            raise
        self.close()
        return result

    def close(self) -> None:
        """Forget the failure: the next call goes through."""
        with self._lock:
            self._failure = None

    def _open(self, failure: Exception) -> None:
        with self._lock:
            self._failure = failure
            self._closed_from_s = self._clock_s() + self._cool_down_s

    def _refuse_while_open(self) -> None:
        with self._lock:
            if self._failure is None:
                return
            now_s = self._clock_s()
            if now_s < self._closed_from_s:
                raise self._failure.with_traceback(None)
            self._closed_from_s = now_s + self._cool_down_s
