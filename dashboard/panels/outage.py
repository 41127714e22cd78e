"""The banner for a service that cannot answer; it goes away by itself."""

from collections.abc import Callable

import streamlit as st

from dashboard import wording
from dashboard.service import Service
from lightbox_client import LightboxClientError
from lightbox_client.proxies import describe_target

RETRY_EVERY_S = 3.0


def show_banner(error: LightboxClientError, service: Service, *, key: str) -> None:
    """Say what is wrong, at which address and what to do, with a button to try again."""
    outage = wording.outage(error, describe_target(service.settings.url))
    show = st.info if outage.is_passing else st.warning
    show(
        outage.text,
        title=outage.title,
        icon=":material/hourglass_top:" if outage.is_passing else ":material/cloud_off:",
    )
    st.button("Try again now", key=key, icon=":material/refresh:", on_click=service.try_again)


def rerun_once_back(probe: Callable[[], object]) -> None:
    """Call `probe` every `RETRY_EVERY_S` seconds and rerun the page once it raises no `LightboxClientError`.

    The first call waits too: where `probe` succeeds but the page fails, the page would rerun without a pause.
    """
    is_drawn = False

    @st.fragment(run_every=RETRY_EVERY_S)
    def ask() -> None:
        nonlocal is_drawn
        if not is_drawn:
            is_drawn = True
            return
        try:
            probe()
        except LightboxClientError:
            return
        st.rerun()

    ask()
