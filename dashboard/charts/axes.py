"""The axes that the charts of a window share.

Time spans the whole window; values begin at zero and end at a round number, so a live chart moves without jumping.
"""

import math
from collections.abc import Mapping
from datetime import timedelta

import altair as alt

LABEL_LIMIT_PX = 190
_TIME_LABELS = ((timedelta(days=2), "%-d %b"), (timedelta(minutes=6), "%H:%M"), (timedelta(), "%H:%M:%S"))


def time_axis(field: str, window: timedelta) -> alt.X:
    """Return an axis of time in the browser's time zone, its labels as fine as the window needs."""
    label = next(label for shortest, label in _TIME_LABELS if window >= shortest)
    return alt.X(
        f"{field}:T",
        title=None,
        scale=alt.Scale(nice=False),
        axis=alt.Axis(format=label, grid=False, labelOverlap="greedy", tickCount=6, labelFlush=True),
    )


def value_axis(field: str, title: str, top: float) -> alt.Y:
    """Return an axis of values from zero to `top`."""
    return alt.Y(f"{field}:Q", title=title, scale=alt.Scale(domain=[0, top], nice=False), axis=alt.Axis(tickCount=5))


def colour_of(colours: Mapping[str, str]) -> alt.Color:
    """Colour by the field `kind`, with a legend above the chart."""
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    return alt.Color(
        "kind:N", title=None, scale=scale, legend=alt.Legend(orient="top", direction="horizontal", offset=4)
    )


def round_up(value: float) -> float:
    """Return the next 1, 2, 2.5 or 5 times a power of ten from `value` on; 1 where that is not positive."""
    if value <= 0:
        return 1.0
    magnitude = 10.0 ** math.floor(math.log10(value))
    return next((step * magnitude for step in (1.0, 2.0, 2.5, 5.0) if value <= step * magnitude), 10.0 * magnitude)
