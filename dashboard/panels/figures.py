"""The headline figures of a window."""

from collections.abc import Iterable

import streamlit as st

from dashboard import wording
from dashboard.reads import Traffic
from lightbox_client.contract import HistoryBucket

FIGURE_PX = 146

Figure = tuple[str, str, str]
"""A label, a value as it is shown, and what it means."""


def show_figures(traffic: Traffic, *, is_fresh: bool) -> None:
    """Show how much came, how much failed or was shed, and how fast answers were, over the whole window."""
    history, total = traffic.history, traffic.history.total
    window_s = max((history.until - history.since).total_seconds(), 1.0)
    figures: list[Figure] = [
        ("Requests", f"{total.count:,}", "All clients together, over the whole window."),
        ("Requests/s", wording.rate(total.count / window_s), "The mean over the whole window."),
        ("Errors", _share(total.errors, total), f"{total.errors:,} requests without an answer, the shed not counted."),
        ("Shed", _share(total.shed, total), f"{total.shed:,} requests refused for load (HTTP 429)."),
        ("p50, ms", _milliseconds(total.total_ms.p50), "Half of the answers took at most this long."),
        ("p95, ms", _milliseconds(total.total_ms.p95), "95 of 100 answers took at most this long."),
        ("p99, ms", _milliseconds(total.total_ms.p99), "99 of 100 answers took at most this long."),
    ]
    show_row(figures, is_fresh=is_fresh)


def show_row(figures: Iterable[Figure], *, is_fresh: bool) -> None:
    """Show figures side by side, wrapping on narrow pages; grey where they are no longer fresh."""
    with st.container(horizontal=True, gap="small"):
        for label, value, explanation in figures:
            shown = value if is_fresh else f":gray[{value}]"
            st.metric(label, shown, help=explanation, border=True, width=FIGURE_PX)


def _share(part: int, total: HistoryBucket) -> str:
    return wording.percent(part / total.count) if total.count else "–"


def _milliseconds(value_ms: float | None) -> str:
    return wording.milliseconds(value_ms).removesuffix(" ms")
