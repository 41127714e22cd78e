"""Charts that count: batch sizes, classes, errors."""

from collections.abc import Mapping

import altair as alt
import pandas as pd
from altair.typing import ChartType

from dashboard.charts.axes import LABEL_LIMIT_PX, round_up, value_axis
from dashboard.charts.palette import BLUE

HEIGHT_PX = 240
WIDEST_BAR = 0.62
NARROWEST_BAR = 0.11
"""Of its band's width: what one bar takes alone. A few bars grow with their number, until they look like bars."""
ROW_PX = 28
AXIS_PX = 66


def batch_sizes(counts: Mapping[int, int]) -> ChartType:
    """Draw how many requests ran in a batch of each size."""
    sizes = sorted(counts)
    width = min(WIDEST_BAR, NARROWEST_BAR * len(sizes))
    rows = pd.DataFrame({"size": sizes, "count": [counts[size] for size in sizes]})
    chart: alt.Chart = (
        alt.Chart(rows)
        .mark_bar(color=BLUE, cornerRadiusEnd=3, width=alt.RelativeBandSize(width))
        .encode(
            x=alt.X("size:O", sort="ascending", title="images in the batch", axis=alt.Axis(labelAngle=0, ticks=False)),
            y=value_axis("count", "requests", round_up(max(counts.values(), default=0))),
            tooltip=[alt.Tooltip("size:O", title="batch size"), alt.Tooltip("count:Q", title="requests", format=",")],
        )
        .properties(height=HEIGHT_PX)
    )
    return chart


def ranking(counts: Mapping[str, int], *, title: str, colour: str = BLUE) -> ChartType:
    """Draw counts as horizontal bars, the largest first, equal ones by name.

    A live chart keeps the order of its first rows unless the rows themselves say where they belong.
    """
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows = pd.DataFrame(
        {
            "rank": range(len(ranked)),
            "name": [name for name, _ in ranked],
            "count": [count for _, count in ranked],
        }
    )
    order = alt.EncodingSortField(field="rank", op="min", order="ascending")
    chart: alt.Chart = (
        alt.Chart(rows)
        .mark_bar(color=colour, height=alt.RelativeBandSize(0.62), cornerRadiusEnd=3)
        .encode(
            x=alt.X(
                "count:Q",
                title=title,
                scale=alt.Scale(domain=[0, round_up(ranked[0][1])], nice=False),
                axis=alt.Axis(format=",.0f", tickCount=4, tickMinStep=1),
            ),
            y=alt.Y("name:N", sort=order, title=None, axis=alt.Axis(labelLimit=LABEL_LIMIT_PX, ticks=False)),
            tooltip=[alt.Tooltip("name:N", title="name"), alt.Tooltip("count:Q", title=title, format=",")],
        )
        .properties(height=ROW_PX * len(rows) + AXIS_PX)
    )
    return chart
