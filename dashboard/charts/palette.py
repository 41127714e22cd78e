"""One meaning, one colour, on every chart: Okabe and Ito's palette, which any colour vision tells apart.

Source: Okabe and Ito, "Color Universal Design" (2008), https://jfly.uni-koeln.de/color/. Their yellow and black are
left out: the one is lost on a light page, the other on a dark one.
"""

from collections.abc import Mapping
from types import MappingProxyType

BLUE = "#0072B2"
SKY = "#56B4E9"
ORANGE = "#E69F00"
GREEN = "#009E73"
VERMILLION = "#D55E00"
PURPLE = "#CC79A7"
GREY = "#9AA3AD"
LIME = "#66A61E"
"""Beside GREEN, for the same kind of answers (ColorBrewer's Dark2)."""

STAGES: Mapping[str, str] = MappingProxyType(
    {"receive": PURPLE, "decode": SKY, "queue": ORANGE, "inference": BLUE, "other": GREY}
)
"""The stages of a receipt in the order in which a request passes them; `other` is what belongs to none."""

PERCENTILES: Mapping[str, str] = MappingProxyType({"p50": SKY, "p95": BLUE, "p99": PURPLE})
OUTCOMES: Mapping[str, str] = MappingProxyType(
    {
        "computed": BLUE,
        "from cache": GREEN,
        "rejected (overload)": ORANGE,
        "client errors": PURPLE,
        "failures": VERMILLION,
        "cancelled by client": GREY,
    }
)
"""What becomes of a request; `dashboard.outcomes` counts by these names."""
LATENCIES: Mapping[str, str] = MappingProxyType(
    {
        **{f"computed {name}": colour for name, colour in PERCENTILES.items()},
        "computed slowest": ORANGE,
        "cached p50": GREEN,
        "cached slowest": LIME,
    }
)
SERIES = (BLUE, ORANGE, GREEN, PURPLE, SKY, GREY)
"""For models, in whatever order they come: what has no meaning of its own on other charts, but is told apart."""
