"""The charts of a window."""

import streamlit as st

from dashboard.charts import counts, history
from dashboard.charts.palette import VERMILLION
from dashboard.reads import Traffic


def show_charts(traffic: Traffic, *, is_fresh: bool) -> None:
    """Draw rate, latency, stages, batch sizes, classes and errors."""
    over_time = history.unchanged if is_fresh else history.dim
    window, target_ms = traffic.history, traffic.status.target_p99_ms
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("Traffic", anchor=False, help="Requests a second, of all clients, by what became of them.")
        st.altair_chart(
            over_time(history.rates(window)), alt="Requests a second over time, by outcome", key="perf_rates"
        )
    with right:
        st.subheader("Latency", anchor=False, help="Of answered requests, from their headers to their answer.")
        st.altair_chart(
            over_time(history.latencies(window, target_ms)), alt="p50, p95 and p99 over time", key="perf_latencies"
        )
        if not history.is_target_in_sight(window, target_ms):
            st.caption(f"The target, {target_ms:,.0f} ms, lies far above this chart.")
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader(
            "Where the time goes",
            anchor=False,
            help="The median of each stage, stacked. Medians need not add up to the median of the total.",
        )
        st.altair_chart(over_time(history.stages(window)), alt="Median of each stage over time", key="perf_stages")
    with right:
        st.subheader("Batch sizes", anchor=False, help="How many answered requests ran in a batch of each size.")
        st.altair_chart(
            over_time(counts.batch_sizes(window.total.batch_sizes)), alt="Requests by batch size", key="perf_batches"
        )
    _show_rankings(traffic, is_fresh=is_fresh)


def _show_rankings(traffic: Traffic, *, is_fresh: bool) -> None:
    total = traffic.history.total
    shade = history.unchanged if is_fresh else history.dim
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("Classes", anchor=False, help="The classes that most often came first.")
        classes = {entry.label: entry.count for entry in total.top_classes}
        if classes:
            chart = counts.ranking(classes, title="answers")
            st.altair_chart(shade(chart), alt="The most frequent classes", key="perf_classes")
        else:
            st.caption("No answers in this window.")
    with right:
        st.subheader("Errors and refusals", anchor=False, help="Requests without an answer, by error code.")
        errors = {
            code: count for code, count in sorted(total.outcomes.items(), key=lambda item: -item[1]) if code != "ok"
        }
        if errors:
            chart = counts.ranking(errors, title="requests", colour=VERMILLION)
            st.altair_chart(shade(chart), alt="Errors by code", key="perf_errors")
        else:
            st.caption(":material/check_circle: None in this window.")
