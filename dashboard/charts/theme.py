"""The colours of text inside of charts, which Streamlit's own theme leaves too pale to read on a light page."""

from collections.abc import Callable
from typing import Literal

import altair as alt

Scheme = Literal["light", "dark"]
INKS = {"light": "#10161D", "dark": "#E6EAEE"}
"""As the page's text (.streamlit/config.toml)."""
MUTED_INKS = {"light": "#565F6B", "dark": "#B4BCC6"}
"""For axes, legends and notes in a chart: 6.4:1 on the light page's background, 9.5:1 on the dark one's."""


def use_theme(read_scheme: Callable[[], Scheme]) -> None:
    """Let every chart that is drawn from now on have legible axes, legends and notes.

    `read_scheme` is called for each chart: visitors of one process may see different schemes.
    """

    @alt.theme.register("lightbox", enable=True)
    def theme() -> alt.theme.ThemeConfig:
        ink = MUTED_INKS[read_scheme()]
        return {
            "config": {
                "axis": {"labelColor": ink, "titleColor": ink},
                "legend": {"labelColor": ink, "titleColor": ink},
                "text": {"color": ink},
            }
        }
