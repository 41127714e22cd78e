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

STAGES: Mapping[str, str] = MappingProxyType(
    {"receive": PURPLE, "decode": SKY, "queue": ORANGE, "inference": BLUE, "other": GREY}
)
"""The stages of a receipt in the order in which a request passes them; `other` is what belongs to none."""

PERCENTILES: Mapping[str, str] = MappingProxyType({"p50": SKY, "p95": BLUE, "p99": VERMILLION})
OUTCOMES: Mapping[str, str] = MappingProxyType({"answered": BLUE, "shed": ORANGE, "errors": VERMILLION})
SERIES = (BLUE, ORANGE, GREEN, PURPLE, SKY, GREY)
"""For models, in whatever order they come: what has no meaning of its own on other charts, but is told apart."""
