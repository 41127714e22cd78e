"""Line plots and stacked bars as SVG, without script. Colours come from the classes of a style sheet."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH_PX, HEIGHT_PX = 560, 300
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 64, 14, 34, 46
LEGEND_ROW_PX = 18
TICKS = 5
LEAST = 1e-9
"""Smaller values count as zero: no millisecond, rate or share of a load test is as small."""

Place = Callable[[float], float]
"""The pixel at which a value lies."""


@dataclass(frozen=True, slots=True)
class Series:
    """A line through points; `style` is its class in the style sheet. A point without y is left out."""

    name: str
    style: str
    points: Sequence[tuple[float, float | None]]


@dataclass(frozen=True, slots=True)
class Guide:
    """A dashed line across the plot, at this x or at this y."""

    name: str
    x: float | None = None
    y: float | None = None


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis from zero, or a logarithmic one, with round ticks unless some are given."""

    title: str
    is_log: bool = False
    ticks: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Bar:
    """A horizontal bar; each part has a class of the style sheet and a length."""

    name: str
    parts: Sequence[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class Canvas:
    """The size of a plot. With a `style_sheet`, the SVG stands alone: with its own title, on white."""

    width_px: int = WIDTH_PX
    height_px: int = HEIGHT_PX
    style_sheet: str = ""


@dataclass(frozen=True, slots=True)
class _Area:
    """The rectangle inside the axes, in pixels."""

    left: float
    right: float
    top: float
    bottom: float


def draw_lines(
    x_axis: Axis,
    y_axis: Axis,
    series: Sequence[Series],
    guides: Sequence[Guide] = (),
    *,
    title: str,
    dots: bool = True,
    canvas: Canvas = Canvas(),
) -> str:
    """Return a plot of lines with its legend."""
    shown = [Series(one.name, one.style, _usable(one.points, x_axis, y_axis)) for one in series]
    points = [point for one in shown for point in one.points]
    if not points:
        return _svg(title, [_text(canvas.width_px / 2, canvas.height_px / 2, "nothing was answered", "middle")], canvas)
    legend, area = _lay_out([(one.name, one.style) for one in shown], canvas)
    xs = [x for x, _ in points] + [guide.x for guide in guides if guide.x is not None]
    ys = [y for _, y in points if y is not None] + [guide.y for guide in guides if guide.y is not None]
    place_x, ticks_x = _scale(xs, area.left, area.right, x_axis)
    place_y, ticks_y = _scale(ys, area.bottom, area.top, y_axis)
    parts = [*legend, *_grid(area, ticks_x, ticks_y, place_x, place_y), *_titles(area, x_axis, y_axis)]
    parts += [_guide(area, guide, place_x, place_y) for guide in guides]
    for one in shown:
        placed = [(place_x(x), place_y(y)) for x, y in one.points if y is not None]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline class="line {one.style}" points="{path}"/>')
        if dots:
            parts += [f'<circle class="dot {one.style}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in placed]
    return _svg(title, parts, canvas)


def draw_bars(unit: str, bars: Sequence[Bar], styles: Sequence[str], *, title: str) -> str:
    """Return stacked horizontal bars; `styles` are the classes of the parts, which are also their names."""
    canvas = Canvas()
    longest = max((sum(length for _, length in bar.parts) for bar in bars), default=0.0)
    if longest <= 0:
        return _svg(title, [_text(canvas.width_px / 2, canvas.height_px / 2, "no timings", "middle")], canvas)
    legend, area = _lay_out([(style, style) for style in styles], canvas)
    axis = Axis(unit)
    place, ticks = _scale([longest], area.left, area.right, axis)
    height = (area.bottom - area.top) / len(bars)
    parts = [*legend, *_grid(area, ticks, [], place, place), *_titles(area, axis, Axis(""))]
    for number, bar in enumerate(bars):
        top, begun = area.top + height * (number + 0.15), 0.0
        parts.append(_text(LEFT_PX - 6, top + height * 0.45, bar.name, "end"))
        for style, length in bar.parts:
            left, right = place(begun), place(begun + length)
            box = f'x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{height * 0.7:.1f}"'
            parts.append(f'<rect class="bar {style}" {box}><title>{escape(style)}: {length:.1f}</title></rect>')
            begun += length
    return _svg(title, parts, canvas)


def _usable(points: Sequence[tuple[float, float | None]], x_axis: Axis, y_axis: Axis) -> list[tuple[float, float]]:
    return [
        (x, y)
        for x, y in points
        if y is not None and (x > LEAST or not x_axis.is_log) and (y > LEAST or not y_axis.is_log)
    ]


def _scale(values: Sequence[float], begin_px: float, end_px: float, axis: Axis) -> tuple[Place, Sequence[float]]:
    """Return the scale of an axis and its ticks."""
    if axis.is_log:
        low, high = math.log(min(values) / 1.1), math.log(max(values) * 1.1)
        ticks = axis.ticks or _log_ticks(math.exp(low), math.exp(high))
        return lambda value: begin_px + (math.log(value) - low) / (high - low) * (end_px - begin_px), ticks
    top = max(values) * 1.05 if max(values) > LEAST else 1.0
    step = _round_step(top / TICKS)
    ticks = axis.ticks or tuple(step * number for number in range(int(top / step) + 1))
    return lambda value: begin_px + value / top * (end_px - begin_px), ticks


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    ticks = [digit * 10.0**power for power in range(first, last + 1) for digit in (1, 2, 5)]
    shown = [tick for tick in ticks if low <= tick <= high]
    return tuple(shown if len(shown) <= 2 * TICKS else [tick for tick in shown if math.log10(tick).is_integer()])


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= step * 0.999)


def _lay_out(entries: Sequence[tuple[str, str]], canvas: Canvas) -> tuple[list[str], _Area]:
    """Return the legend, in as many rows as it needs, and the area below it."""
    parts: list[str] = []
    x, y = float(LEFT_PX), 10.0 + (LEGEND_ROW_PX if canvas.style_sheet else 0)
    for name, style in entries:
        width = 26 + 6.6 * len(name)
        if x > LEFT_PX and x + width > canvas.width_px:
            x, y = float(LEFT_PX), y + LEGEND_ROW_PX
        parts.append(f'<rect class="bar {style}" x="{x:.0f}" y="{y:.0f}" width="10" height="10"/>')
        parts.append(_text(x + 14, y + 9, name, "start"))
        x += width
    right, bottom = canvas.width_px - RIGHT_PX, canvas.height_px - BOTTOM_PX
    return parts, _Area(LEFT_PX, right, y + TOP_PX - 10, bottom)


def _grid(area: _Area, ticks_x: Sequence[float], ticks_y: Sequence[float], place_x: Place, place_y: Place) -> list[str]:
    parts: list[str] = []
    for tick in ticks_x:
        parts.append(_line("grid", place_x(tick), area.top, place_x(tick), area.bottom))
        parts.append(_text(place_x(tick), area.bottom + 15, f"{tick:g}", "middle"))
    for tick in ticks_y:
        parts.append(_line("grid", area.left, place_y(tick), area.right, place_y(tick)))
        parts.append(_text(area.left - 6, place_y(tick) + 4, f"{tick:g}", "end"))
    return parts


def _titles(area: _Area, x_axis: Axis, y_axis: Axis) -> list[str]:
    turned = f"translate(14 {(area.top + area.bottom) / 2:.0f}) rotate(-90)"
    return [
        _text((area.left + area.right) / 2, area.bottom + BOTTOM_PX - 10, x_axis.title, "middle"),
        f'<text class="axis" transform="{turned}" text-anchor="middle">{escape(y_axis.title)}</text>',
    ]


def _guide(area: _Area, guide: Guide, place_x: Place, place_y: Place) -> str:
    if guide.x is not None:
        x = place_x(guide.x)
        return _line("guide", x, area.top, x, area.bottom) + _text(x - 4, area.bottom - 6, guide.name, "end")
    y = place_y(guide.y or 0.0)
    above = y - 4 if y - 4 > area.top + 8 else y + 13
    return _line("guide", area.left, y, area.right, y) + _text(area.left + 4, above, guide.name, "start")


def _line(style: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text class="axis" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _svg(title: str, parts: Sequence[str], canvas: Canvas) -> str:
    size = f'viewBox="0 0 {canvas.width_px} {canvas.height_px}"'
    name = escape(title, quote=True)
    ground = ""
    if canvas.style_sheet:
        ground = (
            f'<style>{canvas.style_sheet}</style><rect width="{canvas.width_px}" height="{canvas.height_px}" '
            f'fill="#fff"/><text class="title" x="{LEFT_PX}" y="18">{name}</text>\n'
        )
    xmlns = ' xmlns="http://www.w3.org/2000/svg"' if canvas.style_sheet else ""
    lines = "\n".join(parts)
    return f'<svg{xmlns} {size} role="img" aria-label="{name}">{ground}{lines}</svg>\n'
