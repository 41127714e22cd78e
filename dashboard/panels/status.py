"""One line on the state of the worker that answers."""

import streamlit as st

from dashboard import wording
from lightbox_client.contract import Status


def show_status(status: Status, *, is_fresh: bool) -> None:
    """Show state, device, lanes, queue, target and uptime as a strip that wraps on narrow pages."""
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        is_ready = status.state == "ready"
        if not is_fresh:
            st.badge("last known", icon=":material/history:", color="gray")
        else:
            icon = ":material/check_circle:" if is_ready else ":material/hourglass_top:"
            st.badge(status.state, icon=icon, color="green" if is_ready else "orange")
        for icon, text in _facts(status):
            st.badge(text, icon=f":material/{icon}:", color="gray")


def _facts(status: Status) -> list[tuple[str, str]]:
    running = list(status.engines.values())
    # A service that is older than `engines` names those of its first model.
    devices = [one.device for one in running] or ([status.device] if status.device else [])
    engines = [wording.engine_and_device(one.engine, one.device) for one in running] or [status.engine]
    facts = [("memory", wording.device(device)) for device in dict.fromkeys(devices)]
    workers = "1 worker" if status.workers == 1 else f"{status.workers} workers"
    facts += [
        ("bolt", ", ".join(dict.fromkeys(engines))),
        ("alt_route", f"{workers}, {status.lanes} lanes" if status.lanes != 1 else f"{workers}, 1 lane"),
        ("stacks", f"{status.queue_depth} in the queue"),
        ("flag", f"target p99 {status.target_p99_ms:,.0f} ms"),
        ("schedule", f"up {wording.duration(status.uptime_s)}"),
    ]
    return facts
