"""The charts of a window."""

from collections import Counter
from collections.abc import Callable

import streamlit as st
from altair.typing import ChartType

from dashboard import wording
from dashboard.charts import counts, history
from dashboard.charts.palette import GREY
from dashboard.reads import Traffic

Shade = Callable[[ChartType], ChartType]

_NO_ANSWERS = "No answers in this window."


def show_charts(traffic: Traffic, *, is_fresh: bool) -> None:
    """Draw rate, latency, stages, batch sizes, classes and errors."""
    shade = history.unchanged if is_fresh else history.dim
    left, right = st.columns(2, gap="large")
    with left:
        _show_rates(traffic, shade)
    with right:
        _show_latencies(traffic, shade)
    left, right = st.columns(2, gap="large")
    with left:
        _show_stages(traffic, shade)
    with right:
        _show_batch_sizes(traffic, shade)
    left, right = st.columns(2, gap="large")
    with left:
        _show_classes(traffic, shade)
    with right:
        _show_errors(traffic, shade)


def _show_rates(traffic: Traffic, shade: Shade) -> None:
    st.subheader("Traffic", anchor=False, help="Requests a second, of all clients, by what became of them.")
    chart = shade(history.rates(traffic.history))
    st.altair_chart(chart, alt="Requests a second over time, by what became of them", key="perf_rates")


def _show_latencies(traffic: Traffic, shade: Shade) -> None:
    st.subheader(
        "Latency",
        anchor=False,
        help="From a request's headers to its answer. Answers that were computed and answers from the cache are shown "
        "apart. A diamond is the slowest request of its interval. The scale is logarithmic.",
    )
    if not traffic.history.total.outcomes.get("ok"):
        st.caption(_NO_ANSWERS)
        return
    chart = shade(history.latencies(traffic.history, traffic.status.target_p99_ms))
    alt = (
        "Percentiles and slowest requests over time, of computed answers and of answers from the cache, and the target"
    )
    st.altair_chart(chart, alt=alt, key="perf_latencies")


def _show_stages(traffic: Traffic, shade: Shade) -> None:
    st.subheader(
        "Where the time goes",
        anchor=False,
        help="The median of each stage of computed answers, stacked. They need not add up to the median of the total.",
    )
    if _has_computed(traffic):
        chart = shade(history.stages(traffic.history))
        st.altair_chart(chart, alt="Median of each stage over time", key="perf_stages")


def _show_batch_sizes(traffic: Traffic, shade: Shade) -> None:
    st.subheader("Batch sizes", anchor=False, help="How many computed answers ran in a batch of each size.")
    if _has_computed(traffic):
        chart = shade(counts.batch_sizes(traffic.history.total.batch_sizes))
        st.altair_chart(chart, alt="Computed answers by batch size", key="perf_batches")


def _has_computed(traffic: Traffic) -> bool:
    """Whether the window has a computed answer; shows a note where it has none."""
    if traffic.history.total.batch_sizes:
        return True
    is_answered = bool(traffic.history.total.outcomes.get("ok"))
    st.caption("All answers of this window came from the cache; the model did not run." if is_answered else _NO_ANSWERS)
    return False


def _show_classes(traffic: Traffic, shade: Shade) -> None:
    st.subheader("Classes", anchor=False, help="The classes that most often came first.")
    top = traffic.history.total.top_classes
    if not top:
        st.caption(_NO_ANSWERS)
        return
    labels = Counter(entry.label for entry in top)
    # ImageNet has two cranes.
    names = {f"{one.label} ({one.class_id})" if labels[one.label] > 1 else one.label: one.count for one in top}
    st.altair_chart(shade(counts.ranking(names, title="answers")), alt="The most frequent classes", key="perf_classes")


def _show_errors(traffic: Traffic, shade: Shade) -> None:
    st.subheader("Errors and rejections", anchor=False, help="Requests without an answer, by what became of them.")
    outcomes = traffic.history.total.outcomes
    errors = {wording.outcome(code): count for code, count in outcomes.items() if code != "ok"}
    if not errors:
        st.caption(":material/check_circle: None in this window.")
        return
    chart = shade(counts.ranking(errors, title="requests", colour=GREY))
    st.altair_chart(chart, alt="Errors and rejections by kind", key="perf_errors")
