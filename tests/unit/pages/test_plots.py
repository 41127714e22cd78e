from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from bento_service.pages.plots import Axis, Bar, Canvas, Guide, Series, draw_bars, draw_lines


def parse(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 - our own


POINTS = st.lists(st.tuples(st.floats(0, 1e6), st.none() | st.floats(0, 1e6)), max_size=12)


@given(POINTS, st.booleans(), st.booleans(), st.floats(1e-3, 1e6))
def test_any_points_make_a_plot_that_is_xml_with_every_coordinate_inside(
    points: list[tuple[float, float | None]], is_log_x: bool, is_log_y: bool, target: float
) -> None:
    axes = Axis("x", is_log=is_log_x), Axis("y", is_log=is_log_y)

    figure = parse(draw_lines(*axes, [Series("s", "p50", points)], [Guide("target", y=target)], title="plot"))

    for dot in figure.iter("circle"):
        assert 0 <= float(dot.attrib["cx"]) <= 560
        assert 0 <= float(dot.attrib["cy"]) <= 300


def test_a_legend_that_is_too_long_for_a_row_takes_more_and_moves_the_plot_down() -> None:
    series = [Series(f"a server with a long name, number {number}", "s", [(1.0, 2.0)]) for number in range(6)]

    figure = parse(draw_lines(Axis("x"), Axis("y"), series, title="plot"))

    keys = [box for box in figure.iter("rect") if box.attrib["class"] == "bar s"]
    assert len({box.attrib["y"] for box in keys}) > 1
    assert all(float(box.attrib["x"]) < 560 / 2 for box in keys)
    lines = [line for line in figure.iter("line") if line.attrib["class"] == "grid"]
    assert min(float(line.attrib["y1"]) for line in lines) > max(float(box.attrib["y"]) for box in keys)


def test_a_plot_that_stands_alone_is_xml_with_escaped_names() -> None:
    canvas = Canvas(900, 420, ".s0 { stroke: red }")

    drawn = draw_lines(Axis("x"), Axis("y"), [Series("<a> & b", "s0", [(1, 2)])], title="<t>", canvas=canvas)

    assert parse(drawn).tag == "{http://www.w3.org/2000/svg}svg"


def test_the_parts_of_a_bar_follow_each_other() -> None:
    bars = [Bar("one", [("decode", 1.0), ("inference", 3.0)])]

    figure = parse(draw_bars("ms", bars, ["decode", "inference"], title="bars"))

    first, second = [box for box in figure.iter("rect") if box.find("title") is not None]
    assert float(second.attrib["x"]) - float(first.attrib["x"]) - float(first.attrib["width"]) < 0.2
    assert float(second.attrib["width"]) / float(first.attrib["width"]) > 2.9
