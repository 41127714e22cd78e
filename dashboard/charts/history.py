"""Charts of a window of traffic, bucket by bucket: rate, latency, stages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import altair as alt
import pandas as pd
from altair.typing import ChartType

from dashboard.charts.axes import colour_of, round_up, time_axis, value_axis
from dashboard.charts.palette import OUTCOMES, PERCENTILES, STAGES, VERMILLION
from lightbox_client.contract import History, HistoryBucket

HEIGHT_PX = 240
STALE_OPACITY = 0.35
TARGET_IN_SIGHT = 4.0
"""The target is drawn while it is at most this many times the slowest percentile; further up it would flatten them."""
HISTORY_STAGES = ("receive", "decode", "queue", "inference")


@dataclass(frozen=True, slots=True)
class _Mark:
    """What one bucket shows of one kind: `value`, stacked from `low` to `high`."""

    start: datetime
    middle: datetime
    end: datetime
    kind: str
    value: float | None
    low: float
    high: float


def rates(history: History) -> ChartType:
    """Stack answered, shed and failed requests a second."""
    marks: list[_Mark] = []
    for bucket in history.buckets:
        start, end = _span(history, bucket)
        seconds = max((end - start).total_seconds(), 0.001)
        answered = bucket.count - bucket.errors - bucket.shed
        counts = {"answered": answered, "shed": bucket.shed, "errors": bucket.errors}
        marks += _stack(start, end, {outcome: count / seconds for outcome, count in counts.items()})
    return _stacked_bars(marks, OUTCOMES, title="requests a second", value_format=",.2f")


def stages(history: History) -> ChartType:
    """Stack the median of each stage of answered requests."""
    marks: list[_Mark] = []
    for bucket in history.buckets:
        medians = {stage: bucket.stages_ms[stage].p50 for stage in HISTORY_STAGES if stage in bucket.stages_ms}
        marks += _stack(*_span(history, bucket), {stage: value or 0.0 for stage, value in medians.items()})
    colours = {stage: STAGES[stage] for stage in HISTORY_STAGES}
    return _stacked_bars(marks, colours, title="milliseconds", value_format=",.1f")


def latencies(history: History, target_ms: float | None) -> ChartType:
    """Draw p50, p95 and p99 of the total of answered requests, and the target where it is in sight."""
    marks = [
        _Mark(start, start + (end - start) / 2, end, name, getattr(bucket.total_ms, name), 0.0, 0.0)
        for bucket in history.buckets
        for start, end in [_span(history, bucket)]
        for name in PERCENTILES
    ]
    seen_target_ms = target_ms if is_target_in_sight(history, target_ms) else None
    top = round_up(max(slowest_ms(history), seen_target_ms or 0.0))
    base = alt.Chart(_frame(marks)).encode(
        x=time_axis("middle", _length(marks)),
        y=value_axis("value", "milliseconds", top),
        color=colour_of(PERCENTILES),
    )
    # Points of their own: those that a line brings along are never dimmed.
    lines, points = base.mark_line(strokeWidth=2), base.mark_point(size=16, filled=True)
    target = [] if seen_target_ms is None else _target(seen_target_ms)
    return alt.layer(lines, points, *target, _hover(marks, PERCENTILES, ",.1f")).properties(height=HEIGHT_PX)


def slowest_ms(history: History) -> float:
    """Return the slowest p99 of any bucket; zero where nothing was answered."""
    return max((bucket.total_ms.p99 or 0.0 for bucket in history.buckets), default=0.0)


def is_target_in_sight(history: History, target_ms: float | None) -> bool:
    """Whether `latencies` draws the target: it is known and not far above all that was measured."""
    return target_ms is not None and target_ms <= TARGET_IN_SIGHT * slowest_ms(history)


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


def _length(marks: Sequence[_Mark]) -> timedelta:
    return marks[-1].end - marks[0].start if marks else timedelta()


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


def _stacked_bars(marks: Sequence[_Mark], colours: Mapping[str, str], *, title: str, value_format: str) -> ChartType:
    top = round_up(max((mark.high for mark in marks), default=0.0))
    bars = (
        alt.Chart(_frame(marks))
        .mark_rect(stroke=None)
        .encode(
            x=time_axis("start", _length(marks)),
            x2="end:T",
            y=value_axis("low", title, top),
            y2="high:Q",
            color=colour_of(colours),
        )
    )
    return alt.layer(bars, _hover(marks, colours, value_format)).properties(height=HEIGHT_PX)


def _target(target_ms: float) -> list[alt.Chart]:
    base = alt.Chart(pd.DataFrame({"target": [target_ms], "name": [f"target {target_ms:,.0f} ms"]}))
    rule = base.mark_rule(color=VERMILLION, strokeDash=[6, 4]).encode(y="target:Q")
    name = base.mark_text(align="right", baseline="bottom", dx=-4, dy=-3, color=VERMILLION)
    return [rule, name.encode(x=alt.value("width"), y="target:Q", text="name:N")]


def _hover(marks: Sequence[_Mark], kinds: Mapping[str, str], value_format: str) -> alt.Chart:
    """Lay an invisible column over each bucket: it answers the pointer with all of the bucket's figures."""
    columns: dict[datetime, dict[str, object]] = {}
    for mark in marks:
        columns.setdefault(mark.start, {"start": mark.start, "end": mark.end})[mark.kind] = mark.value
    figures = [alt.Tooltip(f"{kind}:Q", format=value_format) for kind in kinds]
    hover: alt.Chart = (
        alt.Chart(pd.DataFrame(list(columns.values()), columns=["start", "end", *kinds]))
        .mark_rect(opacity=0, fill="white")
        .encode(
            x=time_axis("start", _length(marks)),
            x2="end:T",
            tooltip=[alt.Tooltip("start:T", format="%-d %b %H:%M:%S"), *figures],
        )
    )
    return hover
