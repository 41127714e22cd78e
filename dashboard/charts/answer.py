"""Charts of one answer: how sure the model is, and where the milliseconds went."""

from collections.abc import Sequence

import altair as alt
import pandas as pd
from altair.typing import ChartType

from dashboard import wording
from dashboard.charts.axes import LABEL_LIMIT_PX, LEGEND_COLUMNS
from dashboard.charts.palette import BLUE, SKY, STAGES
from lightbox_client.contract import Prediction, TimingsMs

ROW_PX = 28
SCORE_AXIS_PX = 46
STAGE_BAR_PX = 26
STAGE_AXIS_PX = 102
"""Room below the bar for axis and legend: a chart's height is all of it."""
VALUE_ROOM_PX = 52


def scores(predictions: Sequence[Prediction], *, ink: str, is_shared: bool = True) -> ChartType:
    """Draw one horizontal bar a class, best first, on a fixed axis from 0 to 1.

    The best class is dark; of independent scores, each class that the headline names.

    Args:
        predictions: At least one, best first.
        ink: The colour of the page's text, for the figures beside the bars.
        is_shared: Whether the scores of all classes sum to one.
    """
    rows = pd.DataFrame(
        {
            "rank": range(len(predictions)),
            "label": [unique_label(predictions, rank) for rank in range(len(predictions))],
            "score": [prediction.score for prediction in predictions],
            "value": [wording.percent(prediction.score) for prediction in predictions],
            "said": [f"{prediction.label}: {wording.percent(prediction.score)}" for prediction in predictions],
            "class_id": [prediction.class_id for prediction in predictions],
        }
    )
    score = alt.X(
        "score:Q",
        title="score" if is_shared else "score of each class on its own; dark from 50%",
        scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(format=".0%", values=[0, 0.25, 0.5, 0.75, 1]),
    )
    order = alt.EncodingSortField(field="rank", op="min", order="ascending")
    label = alt.Y("label:N", sort=order, title=None, axis=alt.Axis(labelLimit=LABEL_LIMIT_PX, ticks=False))
    base = alt.Chart(rows).encode(
        x=score,
        y=label,
        description="said:N",
        tooltip=[
            alt.Tooltip("label:N", title="class"),
            alt.Tooltip("class_id:Q", title="class id"),
            alt.Tooltip("score:Q", title="score", format=".4f"),
        ],
    )
    applies = alt.datum.rank == 0 if is_shared else alt.datum.score >= wording.CONFIDENT_FROM
    bars = base.mark_bar(height=alt.RelativeBandSize(0.62), cornerRadiusEnd=3).encode(
        color=alt.when(applies).then(alt.value(BLUE)).otherwise(alt.value(SKY))
    )
    values = base.mark_text(align="left", dx=6, color=ink, fontSize=12, aria=False).encode(text="value:N")
    return alt.layer(bars, values).properties(
        height=ROW_PX * len(predictions) + SCORE_AXIS_PX,
        padding={"left": 0, "top": 4, "right": VALUE_ROOM_PX, "bottom": 0},
    )


def stages(timings: TimingsMs) -> ChartType:
    """Draw one request's total as a single bar, a segment a stage; the legend carries the milliseconds."""
    durations_ms = {stage: getattr(timings, stage) for stage in STAGES if stage != "other"}
    durations_ms["other"] = max(0.0, timings.total - sum(durations_ms.values()))
    starts_ms = [sum(list(durations_ms.values())[:position]) for position in range(len(durations_ms))]
    names = [f"{stage} {wording.milliseconds(value)}" for stage, value in durations_ms.items()]
    rows = pd.DataFrame(
        {
            "stage": names,
            "start": starts_ms,
            "end": [start + value for start, value in zip(starts_ms, durations_ms.values(), strict=True)],
        }
    )
    chart: alt.Chart = (
        alt.Chart(rows)
        .mark_bar(size=STAGE_BAR_PX)
        .encode(
            x=alt.X(
                "start:Q",
                title=None,
                scale=alt.Scale(domain=[0, max(timings.total, 0.001)], nice=False),
                axis=alt.Axis(labelExpr="datum.label + ' ms'", tickCount=5, grid=False),
            ),
            x2="end:Q",
            color=alt.Color(
                "stage:N",
                title=None,
                scale=alt.Scale(domain=names, range=list(STAGES.values())),
                legend=alt.Legend(orient="bottom", columns=LEGEND_COLUMNS, symbolType="square", labelLimit=0, offset=6),
            ),
            description="stage:N",
            tooltip=[alt.Tooltip("stage:N", title="stage")],
        )
        .properties(height=STAGE_BAR_PX + STAGE_AXIS_PX)
    )
    return chart


def unique_label(predictions: Sequence[Prediction], rank: int) -> str:
    """Add the class_id to a label that another class of the answer has too (ImageNet has two cranes)."""
    label = predictions[rank].label
    is_shared = sum(prediction.label == label for prediction in predictions) > 1
    return f"{label} ({predictions[rank].class_id})" if is_shared else label
