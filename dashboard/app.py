"""The dashboard's entry: `streamlit run dashboard/app.py`. Wiring only."""

import logging
import os
from pathlib import Path

import streamlit as st

from dashboard.charts.theme import use_theme
from dashboard.session import color_scheme
from lightbox_client.variables import warn_of_unknown

HERE = Path(__file__).parent
VIEWS = HERE / "views"


def main() -> None:
    """Set the frame and run the page that the visitor is on."""
    warn_of_unknown(os.environ, logging.getLogger("dashboard").warning)
    st.set_page_config(page_title="Lightbox", page_icon=HERE / "icon.png", layout="wide")
    use_theme(color_scheme)
    classify = st.Page(
        VIEWS / "classify.py",
        title="Classify",
        icon=":material/image_search:",
        url_path="classify",
        default=True,
        help="See what a model makes of an image",
    )
    performance = st.Page(
        VIEWS / "performance.py",
        title="Performance",
        icon=":material/speed:",
        url_path="performance",
        help="See how the service is doing, for all its clients",
    )
    st.navigation([classify, performance], position="top").run()


if __name__ == "__main__":
    main()
