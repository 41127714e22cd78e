"""Which rollups make up a window of time, and the journal's times as numbers. Pure functions."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bento_service.errors import InvalidParameterError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_STEPS_PER_BUCKET = 12
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Resolution:
    """Rollups of `width_s` seconds, aligned to multiples of it, kept for `kept_s` seconds."""

    width_s: int
    kept_s: int


RESOLUTIONS = (
    Resolution(width_s=5, kept_s=2 * DAY_S),
    Resolution(width_s=60, kept_s=31 * DAY_S),
    Resolution(width_s=600, kept_s=31 * DAY_S),
    Resolution(width_s=3_600, kept_s=400 * DAY_S),
    Resolution(width_s=DAY_S, kept_s=400 * DAY_S),
)
"""Finest first. Each width is a multiple of the one before, so that coarse rollups consist of whole finer ones."""

LONGEST_WINDOW = timedelta(seconds=max(resolution.kept_s for resolution in RESOLUTIONS))
"""Nothing older is kept."""


@dataclass(frozen=True, slots=True)
class Window:
    """`count` buckets of `width_s` seconds, the first from `since_s`."""

    since_s: int
    width_s: int
    count: int

    @property
    def until_s(self) -> int:
        """The end of the last bucket, exclusive."""
        return self.since_s + self.width_s * self.count

    def bucket_starts(self) -> range:
        """Return the start of each bucket."""
        return range(self.since_s, self.until_s, self.width_s)


def utc_now() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.now(UTC)


def to_epoch_us(moment: datetime) -> int:
    """Return microseconds since 1970, exactly. Raises TypeError for a time without a zone."""
    return (moment - _EPOCH) // _MICROSECOND


def from_epoch_us(microseconds: int) -> datetime:
    """Return the aware UTC time; the inverse of `to_epoch_us`."""
    return _EPOCH + timedelta(microseconds=microseconds)


def from_epoch_s(seconds: int) -> datetime:
    """Return the aware UTC time of a whole second since 1970."""
    return _EPOCH + timedelta(seconds=seconds)


def plan_window(*, since: datetime, until: datetime, buckets: int, now: datetime) -> Window:
    """Return the window of whole rollups that covers `[since, until)`.

    The bucket width is the window's length divided by `buckets`, rounded up to whole steps. A step is the coarsest
    resolution of which twelve fit in a bucket (else the finest), but no finer than what is still kept at that age.
    Buckets begin at multiples of their width since 1970, so that overlapping windows of one length share buckets; there
    may be one more than `buckets`. A single bucket is as long as asked for, and moves by less than a step.

    Raises:
        InvalidParameterError: `until` is not after `since`, or `buckets` is below 1.
    """
    since_us, until_us, now_us = to_epoch_us(since), to_epoch_us(until), to_epoch_us(now)
    if until_us <= since_us:
        raise InvalidParameterError(f"until is {until.isoformat()}; it has to be after since, {since.isoformat()}.")
    if buckets < 1:
        raise InvalidParameterError(f"buckets is {buckets}; it has to be at least 1.")

    fitting = [
        step for step in RESOLUTIONS if step.width_s * 1_000_000 * _STEPS_PER_BUCKET * buckets <= until_us - since_us
    ]
    finest = RESOLUTIONS.index(fitting[-1]) if fitting else 0
    for step in RESOLUTIONS[finest:]:
        window = _fit(since_us, until_us, buckets, step.width_s)
        if window.since_s * 1_000_000 >= now_us - step.kept_s * 1_000_000:
            break
    return window


def cover(since_s: int, until_s: int) -> Iterator[tuple[int, int]]:
    """Yield the fewest rollups that make up `[since_s, until_s)`, as pairs of resolution and start, in order of time.

    Both ends are multiples of the finest resolution.
    """
    position_s = since_s
    while position_s < until_s:
        width_s = max(
            step.width_s
            for step in RESOLUTIONS
            if position_s % step.width_s == 0 and position_s + step.width_s <= until_s
        )
        yield width_s, position_s
        position_s += width_s


def _fit(since_us: int, until_us: int, buckets: int, step_s: int) -> Window:
    step_us = step_s * 1_000_000
    width_us = _divide_up(until_us - since_us, buckets * step_us) * step_us
    start_us = since_us // width_us * width_us
    if buckets == 1:
        start_us = _divide_up(until_us, step_us) * step_us - width_us
    count = _divide_up(until_us - start_us, width_us)
    return Window(since_s=start_us // 1_000_000, width_s=width_us // 1_000_000, count=count)


def _divide_up(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)
