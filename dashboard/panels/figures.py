"""The headline figures of a window."""

from collections.abc import Iterable

import streamlit as st

from dashboard import wording
from dashboard.outcomes import count_outcomes
from dashboard.reads import Traffic
from lightbox_client.contract import QuantilesMs

FIGURE_PX = 168
LATENCY_PX = 122
"""Four fit into half of a page of 1,280 px."""

Figure = tuple[str, str, str]
"""A label, a formatted value, and an explanation, which may be empty."""


def show_figures(traffic: Traffic, *, is_fresh: bool) -> None:
    """Show the counts, the outcomes and the latencies of the whole window."""
    total = traffic.history.total
    counts = count_outcomes(total)
    show_row(_count_figures(traffic, counts), is_fresh=is_fresh)
    computed, cached = st.columns(2, gap="medium")
    with computed:
        _show_latency("computed", counts["computed"], total.total_ms, is_fresh=is_fresh)
    with cached:
        _show_latency("from the cache", counts["from cache"], total.cached_ms, is_fresh=is_fresh)


def show_row(figures: Iterable[Figure], *, is_fresh: bool, width_px: int = FIGURE_PX) -> None:
    """Show figures side by side, wrapping on narrow pages; grey where they are no longer fresh."""
    with st.container(horizontal=True, gap="small"):
        for label, value, explanation in figures:
            shown = value if is_fresh else f":gray[{value}]"
            st.metric(label, shown, help=explanation or None, border=True, width=width_px)


def _count_figures(traffic: Traffic, counts: dict[str, int]) -> list[Figure]:
    history = traffic.history
    count = history.total.count
    window_s = max((history.until - history.since).total_seconds(), 1.0)

    def share(kind: str) -> str:
        return wording.percent(counts[kind] / count) if count else "–"

    return [
        ("Requests", f"{count:,}", "All clients together, over the whole window."),
        ("Requests/s", wording.rate(count / window_s), "The mean over the whole window."),
        (
            "Failures",
            share("failures"),
            f"{counts['failures']:,} requests that the service failed to answer (HTTP 5xx): a defect, a missed "
            "deadline, a restart.",
        ),
        (
            "Rejected (overload)",
            share("rejected (overload)"),
            f"{counts['rejected (overload)']:,} requests refused because the service was overloaded (HTTP 429).",
        ),
        (
            "Client errors",
            share("client errors"),
            f"{counts['client errors']:,} requests with a mistake of the caller's (HTTP 4xx): a bad file, an unknown "
            "model.",
        ),
    ]


def _show_latency(kind: str, count: int, latency: QuantilesMs, *, is_fresh: bool) -> None:
    """Show the percentiles of one kind of answers; a line without figures where there were none."""
    answers = f"{count:,} {'answer' if count == 1 else 'answers'}" if count else "No answers"
    st.markdown(
        f"**{answers} {kind}**, ms",
        help="From a request's headers to its answer. 95 of 100 of these answers took at most as long as p95 says.",
    )
    if count:
        show_row(
            [
                ("Median (p50)", _milliseconds(latency.p50), ""),
                ("p95", _milliseconds(latency.p95), ""),
                ("p99", _milliseconds(latency.p99), ""),
                ("Slowest", _milliseconds(latency.max), ""),
            ],
            is_fresh=is_fresh,
            width_px=LATENCY_PX,
        )


def _milliseconds(value_ms: float | None) -> str:
    return wording.milliseconds(value_ms).removesuffix(" ms")
