"""How far a model's batches are cut down after one has gone wrong, and how they find their way back."""

_FIRST_WAIT_S = 1.0
"""Time until a smaller batch after out-of-memory is doubled again; doubles with each probe that fails."""
_LONGEST_WAIT_S = 60.0
"""A minute of smaller batches is a lesser evil than an out-of-memory each second."""


class OutOfMemoryLimit:
    """Largest batch of one model that memory has room for. Used under the queue's lock.

    Out-of-memory halves it; some time later it doubles, and if that fails waits twice as long before the next try.
    """

    def __init__(self, largest: int) -> None:
        """Start at the largest batch that the model may ever run."""
        self._largest = largest
        self._size = largest
        self._wait_s = _FIRST_WAIT_S
        self._probe_at_s = 0.0
        self._is_probing = False

    @property
    def size(self) -> int:
        """Largest batch for now, at least 1."""
        return self._size

    def shrink(self, failed_size: int, *, now_s: float) -> None:
        """Take note of a batch that met out-of-memory."""
        # Several lanes may fail one probe: the first of them ends it, and it counts once.
        if self._is_probing:
            self._wait_s = min(_LONGEST_WAIT_S, 2 * self._wait_s)
            self._is_probing = False
        self._size = max(1, min(self._size, failed_size // 2))
        self._probe_at_s = now_s + self._wait_s

    def pass_batch(self, size: int, *, now_s: float) -> None:
        """Take note of a batch that went well."""
        if self._is_probing and size > self._size // 2:
            self._is_probing = False
            self._wait_s = _FIRST_WAIT_S
        if self._size < self._largest and now_s >= self._probe_at_s:
            self._size = min(self._largest, 2 * self._size)
            self._is_probing = True
            self._probe_at_s = now_s + self._wait_s


class FailureLimit:
    """Largest batch of one model that is worth finding a culprit in. Used under the queue's lock.

    A failing batch is bisected, which takes up to twice as many runs as it has images. Each one halves the next, a good
    one doubles it: a rare culprit costs nothing noticeable, and a model that always fails one run an image.
    """

    def __init__(self, largest: int) -> None:
        """Start at the largest batch that the model may ever run."""
        self._largest = largest
        self._size = largest
        self._has_passed = True

    @property
    def size(self) -> int:
        """Largest batch for now, at least 1."""
        return self._size

    def fail_batch(self) -> None:
        """Take note of a batch of several images that failed."""
        self._size = max(1, self._size // 2)

    def fail_image(self) -> bool:
        """Take note of an image that failed alone.

        Returns:
            Whether it may pass at a second try: the model has run well since the last one that failed.
        """
        is_retry_worthwhile, self._has_passed = self._has_passed, False
        return is_retry_worthwhile

    def pass_run(self, *, is_whole: bool) -> None:
        """Take note of images that ran well; `is_whole` where they are a batch as it came from the queue."""
        self._has_passed = True
        if is_whole:
            self._size = min(self._largest, 2 * self._size)
