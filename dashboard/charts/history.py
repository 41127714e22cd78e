"""Charts of a window of traffic, bucket by bucket: rate, latency, stages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import altair as alt
import pandas as pd
from altair.typing import ChartType

from dashboard.charts.axes import colour_of, log_axis, round_up, time_axis, value_axis
from dashboard.charts.palette import GREY, LATENCIES, OUTCOMES, STAGES
from dashboard.outcomes import count_outcomes
from lightbox_client.contract import History, HistoryBucket

HEIGHT_PX = 300
STALE_OPACITY = 0.35
SHORTEST_RATE_S = 5.0
"""A bucket that has just begun is divided by this, so that its first requests are no peak."""
SHORTEST_MS = 0.01
"""Where the axis of latencies ends at the latest; it is logarithmic and has no zero."""
TARGET_ROOM = 1.25
"""Room above the target, as a factor, for its name."""
HISTORY_STAGES = ("receive", "decode", "queue", "inference")
_SLOWEST = ("computed slowest", "cached slowest")
_WIDE = "computed p99"
"""Drawn wider than the lines over it: where few requests make p95 and p99 equal, both show."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """What one bucket shows of one kind: `value`, stacked from `low` to `high`."""

    start: datetime
    middle: datetime
    end: datetime
    kind: str
    value: float | None
    low: float = 0.0
    high: float = 0.0


def rates(history: History) -> ChartType:
    """Stack requests a second by what became of them."""
    marks: list[_Mark] = []
    for bucket in history.buckets:
        start, end = _span(history, bucket)
        seconds = max((end - start).total_seconds(), min(SHORTEST_RATE_S, history.bucket_s))
        counts = count_outcomes(bucket)
        marks += _stack(start, end, {outcome: count / seconds for outcome, count in counts.items()})
    return _stacked_bars(history, marks, OUTCOMES, title="requests a second", value_format=",.2f")


def stages(history: History) -> ChartType:
    """Stack the median of each stage of computed answers."""
    marks: list[_Mark] = []
    for bucket in history.buckets:
        medians = {stage: bucket.stages_ms[stage].p50 for stage in HISTORY_STAGES if stage in bucket.stages_ms}
        marks += _stack(*_span(history, bucket), {stage: value or 0.0 for stage, value in medians.items()})
    colours = {stage: STAGES[stage] for stage in HISTORY_STAGES}
    return _stacked_bars(history, marks, colours, title="milliseconds", value_format=",.1f")


def latencies(history: History, target_ms: float) -> ChartType:
    """Draw the percentiles of computed and of cached answers as lines, the slowest of each as dots, and the target.

    The axis is logarithmic: answers from the cache take a hundredth of the time of computed ones, and neither they nor
    a target far above may flatten the lines. It always holds the target, so that it does not change as load comes near.
    """
    marks = [
        _Mark(start, start + (end - start) / 2, end, kind, None if value is None else max(value, SHORTEST_MS))
        for bucket in history.buckets
        for start, end in [_span(history, bucket)]
        for kind, value in _latencies_of(bucket).items()
    ]
    values = [mark.value for mark in marks if mark.value is not None]
    bottom, top = min([*values, target_ms]), round_up(max([*values, TARGET_ROOM * target_ms]))
    base = alt.Chart(_frame(marks)).encode(
        x=time_axis("middle", _length(history)),
        y=log_axis("value", "milliseconds", bottom, top),
        color=colour_of(LATENCIES),
    )
    is_slowest = alt.FieldOneOfPredicate(field="kind", oneOf=list(_SLOWEST))
    width = alt.when(alt.datum.kind == _WIDE).then(alt.value(4.5)).otherwise(alt.value(2))
    lines = base.transform_filter(~is_slowest)
    return alt.layer(
        _target(target_ms),
        lines.mark_line(aria=False).encode(strokeWidth=width),
        # Points of their own: those that a line brings along are never dimmed.
        lines.mark_point(size=16, filled=True, aria=False),
        base.transform_filter(is_slowest).mark_point(size=26, filled=True, shape="diamond", aria=False),
        _hover(history, marks, LATENCIES, ",.1f"),
    ).properties(height=HEIGHT_PX)


def dim(chart: ChartType) -> ChartType:
    """Return the chart faded: what it shows is no longer fresh."""
    faded: ChartType = (
        chart.configure_mark(opacity=STALE_OPACITY)
        .configure_point(opacity=STALE_OPACITY)
        .configure_legend(symbolOpacity=STALE_OPACITY)
    )
    return faded


def unchanged(chart: ChartType) -> ChartType:
    """Return the chart as it is: the counterpart of `dim`."""
    return chart


def _latencies_of(bucket: HistoryBucket) -> dict[str, float | None]:
    """Name a bucket's latencies as `palette.LATENCIES`, the widest line first, so that it is drawn below the others."""
    computed, cached = bucket.total_ms, bucket.cached_ms
    return {
        "computed p99": computed.p99,
        "computed p95": computed.p95,
        "computed p50": computed.p50,
        "computed slowest": computed.max,
        "cached p50": cached.p50,
        "cached slowest": cached.max,
    }


def _length(history: History) -> timedelta:
    return history.until - history.since


def _span(history: History, bucket: HistoryBucket) -> tuple[datetime, datetime]:
    """Return a bucket's stretch of time, cut off where the window ends: the last bucket may be young."""
    return bucket.start, min(bucket.start + timedelta(seconds=history.bucket_s), history.until)


def _stack(start: datetime, end: datetime, values: Mapping[str, float]) -> list[_Mark]:
    low, marks = 0.0, []
    for kind, value in values.items():
        marks.append(_Mark(start, start + (end - start) / 2, end, kind, value, low, low + value))
        low += value
    return marks


def _frame(marks: Sequence[_Mark]) -> pd.DataFrame:
    return pd.DataFrame(marks, columns=list(_Mark.__dataclass_fields__))


def _stacked_bars(
    history: History, marks: Sequence[_Mark], colours: Mapping[str, str], *, title: str, value_format: str
) -> ChartType:
    top = round_up(max((mark.high for mark in marks), default=0.0))
    bars = (
        alt.Chart(_frame(marks))
        .mark_rect(stroke=None, aria=False)
        .encode(
            x=time_axis("start", _length(history)),
            x2="end:T",
            y=value_axis("low", title, top),
            y2="high:Q",
            color=colour_of(colours),
        )
    )
    return alt.layer(bars, _hover(history, marks, colours, value_format)).properties(height=HEIGHT_PX)


def _target(target_ms: float) -> ChartType:
    base = alt.Chart(pd.DataFrame({"target": [target_ms], "name": [f"target {target_ms:,.0f} ms"]}))
    rule = base.mark_rule(color=GREY, strokeDash=[6, 4], aria=False).encode(y="target:Q")
    name = base.mark_text(align="left", baseline="bottom", dx=4, dy=-3, aria=False)
    return alt.layer(rule, name.encode(x=alt.value(0), y="target:Q", text="name:N"))


def _hover(history: History, marks: Sequence[_Mark], kinds: Mapping[str, str], value_format: str) -> alt.Chart:
    """Lay an invisible column over each bucket, whose tooltip has all of the bucket's figures."""
    columns: dict[datetime, dict[str, object]] = {}
    for mark in marks:
        columns.setdefault(mark.start, {"start": mark.start, "end": mark.end})[mark.kind] = mark.value
    figures = [alt.Tooltip(field=kind, type="quantitative", title=kind, format=value_format) for kind in kinds]
    hover: alt.Chart = (
        alt.Chart(pd.DataFrame(list(columns.values()), columns=["start", "end", *kinds]))
        .mark_rect(opacity=0, fill="white", aria=False)
        .encode(
            x=time_axis("start", _length(history)),
            x2="end:T",
            tooltip=[alt.Tooltip("start:T", title="from", format="%-d %b %H:%M:%S"), *figures],
        )
    )
    return hover
