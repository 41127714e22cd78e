"""The axes that the charts of a window share.

Time spans the whole window. Values begin at zero, on a logarithmic axis at a power of ten, and end at a round number,
so that the axis of a live chart rarely changes.
"""

import math
from collections.abc import Mapping
from datetime import timedelta

import altair as alt

LABEL_LIMIT_PX = 190
LEGEND_COLUMNS = 2
"""As many as a phone has room for."""
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


def log_axis(field: str, title: str, bottom: float, top: float) -> alt.Y:
    """Return a logarithmic axis from the power of ten at or below `bottom`, which is above zero, to `top`."""
    lowest, highest = math.floor(math.log10(bottom)), math.floor(math.log10(top))
    ticks = [10.0**power for power in range(lowest, highest + 1)]
    return alt.Y(
        f"{field}:Q",
        title=title,
        scale=alt.Scale(type="log", domain=[ticks[0], top], nice=False, clamp=True),
        axis=alt.Axis(values=ticks, format=",~g"),
    )


def colour_of(colours: Mapping[str, str]) -> alt.Color:
    """Colour by the field `kind`, with a legend above the chart in rows of `LEGEND_COLUMNS`."""
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    legend = alt.Legend(
        orient="top",
        direction="horizontal",
        columns=LEGEND_COLUMNS,
        offset=4,
        symbolType="square",
        symbolSize=100,
        symbolStrokeWidth=0,
        rowPadding=2,
    )
    return alt.Color("kind:N", title=None, scale=scale, legend=legend)


def round_up(value: float) -> float:
    """Return the next 1, 2, 2.5 or 5 times a power of ten from `value` on; 1 where that is not positive."""
    if value <= 0:
        return 1.0
    magnitude = 10.0 ** math.floor(math.log10(value))
    return next((step * magnitude for step in (1.0, 2.0, 2.5, 5.0) if value <= step * magnitude), 10.0 * magnitude)
