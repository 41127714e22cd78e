"""The windows of time that the Performance page offers."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Window:
    """An interval that ends now; `buckets` divide it into round intervals: 5 s, a minute, two hours."""

    key: str
    length: timedelta
    buckets: int


WINDOWS = (
    Window("5m", timedelta(minutes=5), 60),
    Window("15m", timedelta(minutes=15), 60),
    Window("1h", timedelta(hours=1), 60),
    Window("6h", timedelta(hours=6), 72),
    Window("24h", timedelta(hours=24), 96),
    Window("7d", timedelta(days=7), 84),
    Window("30d", timedelta(days=30), 90),
)
DEFAULT_WINDOW = "15m"


def window_of(key: str) -> Window:
    """Return the window of that key; raises `KeyError` where there is none."""
    return {window.key: window for window in WINDOWS}[key]


def in_words(length: timedelta) -> str:
    """Write a window's length in its largest unit: `5 minutes`, `day`."""
    for unit, one in (("day", timedelta(days=1)), ("hour", timedelta(hours=1)), ("minute", timedelta(minutes=1))):
        if length >= one and (unit == "minute" or length != timedelta(days=1)):
            count = length // one
            return unit if count == 1 else f"{count} {unit}s"
    return f"{length.total_seconds():.0f} seconds"
