"""Points in time as the journal stores them: whole microseconds since 1970 in UTC, fast to compare."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


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
