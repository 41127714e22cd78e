"""The Performance page: how the service is doing, for all its clients. Wiring only."""

from collections.abc import Mapping
from types import MappingProxyType

import streamlit as st

from dashboard import wording
from dashboard.address import note_unknown, show_notes
from dashboard.markdown import literal
from dashboard.panels.figures import show_figures
from dashboard.panels.outage import RETRY_EVERY_S, show_banner
from dashboard.panels.requests import ORDERS, show_requests
from dashboard.panels.runner import show_runner
from dashboard.panels.status import show_status
from dashboard.panels.traffic import show_charts
from dashboard.reads import Traffic, open_service, read_models, read_traffic
from dashboard.service import Service
from dashboard.session import PerformanceSession, performance_session
from dashboard.windows import DEFAULT_WINDOW, WINDOWS, Window, in_words, window_of
from lightbox_client import LightboxClientError

REFRESHES_S: Mapping[str, float | None] = MappingProxyType({"Off": None, "2 s": 2.0, "5 s": 5.0, "15 s": 15.0})
DEFAULT_REFRESH = "5 s"


def render() -> None:
    """Draw the controls once, and everything below them at the chosen refresh interval."""
    service, session = open_service(), performance_session()
    st.title("Performance", anchor=False)
    notice = st.container()
    window, model, refresh_s = _choose(service, session)
    with notice:
        show_notes(session.notes)
    # A service that is away is watched even with refresh off, so that the page comes back by itself.
    every_s = refresh_s or (RETRY_EVERY_S if session.is_away else None)
    st.fragment(_show_live, run_every=every_s)(service, session, window, model)


def _choose(service: Service, session: PerformanceSession) -> tuple[Window, str | None, float | None]:
    names = _model_names(service, session)
    for name, allowed in (
        ("perf_window", [window.key for window in WINDOWS]),
        ("perf_model", names),
        ("perf_refresh", list(REFRESHES_S)),
        ("perf_order", list(ORDERS)),
    ):
        note_unknown(session.notes, name, allowed)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        key = st.segmented_control(
            "Window",
            [window.key for window in WINDOWS],
            default=DEFAULT_WINDOW,
            required=True,
            key="perf_window",
            bind="query-params",
        )
        model = st.selectbox(
            "Model",
            names,
            index=None,
            placeholder="All models",
            key="perf_model",
            bind="query-params",
            width=260,
        )
        refresh = st.segmented_control(
            "Live refresh",
            list(REFRESHES_S),
            default=DEFAULT_REFRESH,
            required=True,
            key="perf_refresh",
            bind="query-params",
        )
    return window_of(key or DEFAULT_WINDOW), model, REFRESHES_S[refresh or "Off"]


def _model_names(service: Service, session: PerformanceSession) -> list[str]:
    """Return the served models; while the service is away, the last known ones and the one in the address."""
    try:
        session.model_names = tuple(card.name for card in read_models(service).models)
    except LightboxClientError:
        asked = st.query_params.get("perf_model")
        session.model_names = tuple(dict.fromkeys([*session.model_names, *([asked] if asked else [])]))
    return list(session.model_names)


def _show_live(service: Service, session: PerformanceSession, window: Window, model: str | None) -> None:
    was_away = session.is_away
    try:
        session.traffic = read_traffic(service, window=window.length, buckets=window.buckets, model=model)
        session.is_away = False
    except LightboxClientError as error:
        session.is_away = True
        show_banner(error, service, key="perf_retry")
    if session.is_away != was_away:
        st.rerun()
    if session.traffic is not None:
        _show_traffic(session.traffic, window, is_fresh=not session.is_away)
        if session.traffic.history.total.count:
            outcomes = list(session.traffic.history.total.outcomes)
            show_requests(service, session.table, window=window.length, model=model, outcomes=outcomes)


def _show_traffic(traffic: Traffic, window: Window, *, is_fresh: bool) -> None:
    show_status(traffic.status, is_fresh=is_fresh)
    read_at = traffic.read_at.astimezone(wording.zone(st.context.timezone))
    st.caption(f"{'As of' if is_fresh else 'Last heard of the service at'} {read_at:%H:%M:%S}")
    st.header(f"Last {in_words(window.length)}", anchor=False)
    if traffic.history.total.count == 0:
        _say_nothing_came(traffic, window)
        show_runner(traffic, is_fresh=is_fresh)
        return
    show_figures(traffic, is_fresh=is_fresh)
    show_charts(traffic, is_fresh=is_fresh)
    show_runner(traffic, is_fresh=is_fresh)


def _say_nothing_came(traffic: Traffic, window: Window) -> None:
    asked = f" for {literal(traffic.history.model)}" if traffic.history.model else ""
    st.info(
        "Classify an image on the other page, or from a shell: "
        "`lightbox classify photo.jpg`. It shows up here within seconds.",
        title=f"No requests{asked} in the last {in_words(window.length)}",
        icon=":material/inbox:",
    )


if __name__ == "__main__":
    render()
