"""How long a new image would wait: the work ahead of it times the measured time for a unit of work."""

from collections.abc import Callable

from bento_service.domain.requests import Priority

_WINDOW_ANSWERS = 8
"""Fewest answers between two measurements: single gaps say nothing where batches end together."""
_WEIGHT = 0.3
"""Weight of one window in the running mean: the last two make up 51 % of it."""
_OUTLIER = 4.0
"""One window counts as at most this many times the mean: a stall of the machine is no change of its speed."""
_MIN_SLOWDOWN = 0.005
"""Smallest slowdown, as a share of the first, so that it can grow back soon."""


class WaitPredictor:
    """Predicts waits from the measured time for a unit of work while images are queued (Little's law on work).

    The slowdown is that time: milliseconds for a millisecond of estimated work at full load. It covers everything
    between two answers, so it needs no model of the bottleneck; units of work rather than images keep it true where a
    large photograph follows small ones. Interactive images wait only for bulk ones that run already. Used on the event
    loop.
    """

    def __init__(
        self, *, capacity: int, round_size: int = 0, clock: Callable[[], float], initial_slowdown: float = 1.0
    ) -> None:
        """Start from a first guess.

        Args:
            capacity: Images that run at the same time; with fewer the machine is not at full load.
            round_size: Images in flight where every lane runs its largest batch; counts where it exceeds `capacity`.
            clock: Seconds, monotonic.
            initial_slowdown: The first guess; more than 0.
        """
        self._slowdown = initial_slowdown
        self._min_slowdown = initial_slowdown * _MIN_SLOWDOWN
        self._clock = clock
        self._count = dict.fromkeys(Priority, 0)
        self._work_ms = dict.fromkeys(Priority, 0.0)
        self._last_answer_s = clock()
        self._busy_since_s = self._last_answer_s
        self.resize(capacity=capacity, round_size=round_size)
        self._begin_window()

    def resize(self, *, capacity: int, round_size: int = 0) -> None:
        """Take other lanes' batches into account, after a change of models; the arguments are those of the start."""
        self._capacity = capacity
        # Two full rounds of the lanes: wherever a window cuts a batch in two, it holds at least one whole round.
        self._window_size = max(_WINDOW_ANSWERS, 2 * capacity, 2 * round_size)

    @property
    def bulk(self) -> int:
        """Bulk images that are started and not finished."""
        return self._count[Priority.BULK]

    def count_ahead(self, priority: Priority = Priority.INTERACTIVE) -> int:
        """Count the images that a further one of this priority would wait for."""
        interactive, bulk = self._count[Priority.INTERACTIVE], self._count[Priority.BULK]
        return interactive + (bulk if priority is Priority.BULK else min(self._capacity, bulk))

    def predict_wait_ms(self, priority: Priority = Priority.INTERACTIVE) -> float:
        """Predict the wait of a new image of this priority, its own work left out."""
        bulk, bulk_ms = self._count[Priority.BULK], self._work_ms[Priority.BULK]
        if priority is Priority.INTERACTIVE and bulk > self._capacity:
            bulk_ms *= self._capacity / bulk
        return self._slowdown * (self._work_ms[Priority.INTERACTIVE] + bulk_ms)

    def start(self, work_ms: float, priority: Priority) -> None:
        """Add an image that others wait for from now on."""
        if not any(self._count.values()):
            self._busy_since_s = self._clock()
        self._count[priority] += 1
        self._work_ms[priority] += work_ms

    def finish(self, work_ms: float, priority: Priority, *, has_run: bool) -> None:
        """Remove an image that was added with `start`; learn from it if a lane ran it, whatever the result."""
        if has_run:
            self._learn(work_ms)
        self._count[priority] -= 1
        self._work_ms[priority] -= work_ms
        # Sums of floats drift: reset them whenever they must be zero.
        if self._count[priority] == 0:
            self._work_ms[priority] = 0.0

    def _begin_window(self) -> None:
        self._answers = 0
        self._done_ms = 0.0
        self._busy_ms = 0.0
        self._is_saturated = True

    def _learn(self, work_ms: float) -> None:
        now_s = self._clock()
        self._busy_ms += (now_s - max(self._last_answer_s, self._busy_since_s)) * 1000
        self._last_answer_s = now_s
        self._answers += 1
        self._done_ms += work_ms
        self._is_saturated &= sum(self._count.values()) > self._capacity
        if self._answers < self._window_size:
            return
        slowdown = self._busy_ms / self._done_ms if self._done_ms > 0 else self._slowdown
        # Below saturation the gap between answers is the clients', not ours: it can only show that we are faster.
        if self._is_saturated or slowdown < self._slowdown:
            slowdown = min(slowdown, _OUTLIER * self._slowdown)
            self._slowdown = max(self._min_slowdown, self._slowdown + _WEIGHT * (slowdown - self._slowdown))
        self._begin_window()
