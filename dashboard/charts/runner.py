"""The chart of the cost model: what a batch takes by its size, as warm-up measured it and now."""

from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import pandas as pd
from altair.typing import ChartType

from dashboard.charts.axes import round_up, value_axis
from dashboard.charts.palette import SERIES
from lightbox_client.contract import BatchCost, ModelCost

PLOT_PX = 180
AXIS_PX = 130
"""Room below the plot for the axis and the legend of the lines' kinds."""
LEGEND_ROW_PX = 28
MAX_LINES = len(SERIES)
NOW, WARM_UP = "now", "at warm-up"
_SIDE_ROOM = 1.15
"""Room beside the first and the last batch size, as a factor: the axis is logarithmic."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """What a batch of one size takes, `when`. `is_within`: the runner makes batches of this size at the moment."""

    line: str
    when: str
    size: int
    value_ms: float
    image_ms: float
    samples: int
    is_within: bool
    said: str


def batch_costs(costs: Sequence[ModelCost]) -> ChartType:
    """Draw milliseconds a batch over batch size, a colour a model and mode; sizes above the max batch are hollow.

    Args:
        costs: At least one, at most `MAX_LINES`.
    """
    marks = [mark for cost, line in zip(costs, line_names(costs), strict=True) for mark in _marks(cost, line)]
    sizes = sorted({mark.size for mark in marks})
    base = alt.Chart(_frame(marks)).encode(
        x=alt.X(
            "size:Q",
            title="images in the batch",
            scale=alt.Scale(type="log", base=2, domain=[sizes[0] / _SIDE_ROOM, sizes[-1] * _SIDE_ROOM], nice=False),
            axis=alt.Axis(values=sizes, format="d", grid=False, labelOverlap="greedy"),
        ),
        y=value_axis("value_ms", "milliseconds a batch", round_up(max(mark.value_ms for mark in marks))),
        color=_colour(costs),
        description="said:N",
        tooltip=[
            alt.Tooltip("line:N", title="model"),
            alt.Tooltip("when:N", title="measured"),
            alt.Tooltip("size:Q", title="images"),
            alt.Tooltip("value_ms:Q", title="ms a batch", format=",.1f"),
            alt.Tooltip("image_ms:Q", title="ms an image", format=",.1f"),
            alt.Tooltip("samples:Q", title="batches observed", format=","),
        ],
    )
    lines = base.mark_line(strokeWidth=2).encode(strokeDash=_dash())
    # A model may have one size only, of which a line shows nothing.
    past = base.mark_point(shape="stroke", size=320, strokeWidth=2).transform_filter(alt.datum.when == WARM_UP)
    present = base.transform_filter(alt.datum.when == NOW)
    within = present.mark_point(filled=True, size=80).transform_filter(alt.datum.is_within)
    beyond = present.mark_point(filled=False, size=80, strokeWidth=2).transform_filter(~alt.datum.is_within)
    return alt.layer(lines, past, within, beyond).properties(height=_height_px(len(costs)))


def line_names(costs: Sequence[ModelCost]) -> list[str]:
    """Name each line by its model, and by its mode too where a model has several."""
    has_modes = len({cost.mode for cost in costs}) > 1
    return [f"{cost.model}, {cost.mode}" if has_modes else cost.model for cost in costs]


def has_sizes_above_ceiling(costs: Sequence[ModelCost]) -> bool:
    """Whether `batch_costs` draws hollow points."""
    return any(batch.batch_size > cost.ceiling for cost in costs for batch in cost.batches)


def _marks(cost: ModelCost, line: str) -> list[_Mark]:
    return [mark for batch in cost.batches for mark in _pair(batch, line, is_within=batch.batch_size <= cost.ceiling)]


def _pair(batch: BatchCost, line: str, *, is_within: bool) -> tuple[_Mark, _Mark]:
    past, present = (
        _Mark(
            line,
            when,
            batch.batch_size,
            value_ms,
            value_ms / batch.batch_size,
            batch.samples,
            is_within,
            f"{line}, batch of {batch.batch_size}, {when}: {value_ms:,.1f} ms",
        )
        for when, value_ms in ((WARM_UP, batch.measured_ms), (NOW, batch.current_ms))
    )
    return past, present


def _height_px(lines: int) -> int:
    """Return a chart's height, legends and all, that leaves the plot the same whatever their number."""
    return PLOT_PX + AXIS_PX + LEGEND_ROW_PX * lines


def _frame(marks: Sequence[_Mark]) -> pd.DataFrame:
    return pd.DataFrame(marks, columns=list(_Mark.__dataclass_fields__))


def _colour(costs: Sequence[ModelCost]) -> alt.Color:
    names = line_names(costs)
    legend = alt.Legend(orient="top", direction="horizontal", columns=1, symbolType="circle", labelLimit=0, offset=4)
    scale = alt.Scale(domain=names, range=list(SERIES[: len(names)]))
    return alt.Color("line:N", title=None, scale=scale, legend=legend)


def _dash() -> alt.StrokeDash:
    legend = alt.Legend(orient="bottom", direction="horizontal", symbolType="stroke", symbolSize=400, offset=4)
    scale = alt.Scale(domain=[NOW, WARM_UP], range=[[1, 0], [5, 4]])
    return alt.StrokeDash("when:N", title=None, scale=scale, legend=legend)
