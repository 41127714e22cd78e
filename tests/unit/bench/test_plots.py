from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from bench.plots import Axis, draw_bars, draw_lines

SVG = "{http://www.w3.org/2000/svg}"


@given(st.floats(0.001, 1e6), st.floats(1.01, 1e4), st.booleans(), st.floats(-1e7, 1e7))
def test_every_value_lies_on_the_axis(low: float, factor: float, is_logarithmic: bool, value: float) -> None:
    assert 0.0 <= Axis("x", low, low * factor, is_logarithmic).share(value) <= 1.0


def test_a_higher_value_is_drawn_higher() -> None:
    svg = draw_lines("t", Axis("x", 0, 1), Axis("y", 0, 10), {"a": [(0, 1), (1, 9)]}, x_ticks=[0, 1])
    first, second = ElementTree.fromstring(svg).findall(f"{SVG}circle")  # noqa: S314 - our own
    assert float(second.attrib["cy"]) < float(first.attrib["cy"])


def test_a_missing_figure_leaves_a_gap_among_the_bars() -> None:
    svg = draw_bars("t", Axis("y", 0, 10), ["one", "two"], {"a": [None, 5.0]})
    heights = [rect.attrib["height"] for rect in ElementTree.fromstring(svg).findall(f"{SVG}rect")]  # noqa: S314 - our own
    assert len(heights) == len(["ground", "legend", "bar"])


def test_names_cannot_break_the_drawing() -> None:
    svg = draw_bars("<t>", Axis("y", 0, 1), ["a & b"], {"<script>": [1.0]})

    texts = [text.text for text in ElementTree.fromstring(svg).findall(f"{SVG}text")]  # noqa: S314 - our own
    assert {"<t>", "a & b", "<script>"} <= set(texts)
