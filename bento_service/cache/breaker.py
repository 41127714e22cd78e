"""Keeps a store that does not serve from costing every request a time-out."""

from collections.abc import Callable


class CircuitBreaker:
    """Opens after so many failures in a row; then lets one try through after each pause, which doubles up to a limit.

    Tries that are under way together and fail count as one: what held one up, such as an event loop that was busy for a
    moment, held up all of them. Used on one event loop.
    """

    def __init__(
        self, *, max_failures: int, min_pause_s: float, max_pause_s: float, clock: Callable[[], float]
    ) -> None:
        """Begin closed.

        Args:
            max_failures: Failures in a row that open it.
            min_pause_s: First pause.
            max_pause_s: Longest pause.
            clock: Seconds, monotonic.
        """
        self._max_failures = max_failures
        self._min_pause_s = min_pause_s
        self._max_pause_s = max_pause_s
        self._clock = clock
        self._failures = 0
        self._failures_ever = 0
        self._pause_s = min_pause_s
        self._next_try_s = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the last tries failed."""
        return self._failures >= self._max_failures

    def begin(self) -> int:
        """Return what a try that begins now hands to `fail` if it comes to that."""
        return self._failures_ever

    def lets_through(self) -> bool:
        """Decide about one try: all while closed, one a pause while open, whether or not that one ever reports."""
        if not self.is_open:
            return True
        now_s = self._clock()
        if now_s < self._next_try_s:
            return False
        self._pause_s = min(self._max_pause_s, 2 * self._pause_s)
        self._next_try_s = now_s + self._pause_s
        return True

    def succeed(self) -> bool:
        """Close it after a try that succeeded; tell whether it was open.

        The next pause is short again once a try has succeeded that did not have to close it: what answers a single try
        and fails the next ones is left alone for longer each time.
        """
        was_open = self.is_open
        if not was_open:
            self._pause_s = self._min_pause_s
        self._failures = 0
        return was_open

    def fail(self, begun: int) -> bool:
        """Count the failure of a try; tell whether this one opened it.

        Args:
            begun: What `begin` returned. The failure of a try during which another one's was counted changes nothing.
        """
        if begun != self._failures_ever:
            return False
        self._failures += 1
        self._failures_ever += 1
        has_opened = self._failures == self._max_failures
        if has_opened:
            self._next_try_s = self._clock() + self._pause_s
        return has_opened
