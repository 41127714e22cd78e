"""How far a model's batches shrink after out-of-memory or a failure, and when they grow again."""

_FIRST_WAIT_S = 1.0
"""Time until a smaller batch after out-of-memory is doubled again; doubles with each probe that fails."""
_LONGEST_WAIT_S = 60.0
"""A minute of smaller batches costs less than an out-of-memory each second."""


class OutOfMemoryLimit:
    """Largest batch of one model that memory has room for: `size`, at least 1. Used under the queue's lock.

    Out-of-memory halves it. After a wait it doubles as a probe; a probe that fails doubles the wait for the next.
    """

    def __init__(self, largest: int) -> None:
        self.size = largest
        self._largest = largest
        self._wait_s = _FIRST_WAIT_S
        self._probe_at_s = 0.0
        self._is_probing = False

    def shrink(self, failed_size: int, *, now_s: float) -> None:
        """Shrink after a batch that met out-of-memory."""
        # Several lanes may fail one probe; it counts once.
        if self._is_probing:
            self._wait_s = min(_LONGEST_WAIT_S, 2 * self._wait_s)
            self._is_probing = False
        self.size = max(1, min(self.size, failed_size // 2))
        self._probe_at_s = now_s + self._wait_s

    def pass_batch(self, size: int, *, now_s: float) -> None:
        """Grow after a batch that succeeded, once the wait is over."""
        if self._is_probing and size > self.size // 2:
            self._is_probing = False
            self._wait_s = _FIRST_WAIT_S
        if self.size < self._largest and now_s >= self._probe_at_s:
            self.size = min(self._largest, 2 * self.size)
            self._is_probing = True
            self._probe_at_s = now_s + self._wait_s


class FailureLimit:
    """Largest batch of one model that is worth bisecting when it fails: `size`, at least 1.

    Bisecting takes up to twice as many runs as the batch has images. Each failed batch halves the limit and each good
    one doubles it, so that a rare bad image costs little and a model that always fails costs one run an image. Used
    under the queue's lock.
    """

    def __init__(self, largest: int) -> None:
        self.size = largest
        self._largest = largest
        self._has_passed = True

    def fail_batch(self) -> None:
        """Shrink after a batch of several images that failed."""
        self.size = max(1, self.size // 2)

    def fail_image(self) -> bool:
        """Return whether an image that failed alone is worth a second try: the model has run since the last failure."""
        is_retry_worthwhile, self._has_passed = self._has_passed, False
        return is_retry_worthwhile

    def pass_run(self, *, is_whole: bool) -> None:
        """Grow after a run that succeeded, if it had all images of its batch."""
        self._has_passed = True
        if is_whole:
            self.size = min(self._largest, 2 * self.size)
