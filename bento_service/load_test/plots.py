"""Plots as inline SVG: no script, no file beside it. Colours come from the page's style by class."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH_PX, HEIGHT_PX = 560, 300
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 64, 14, 34, 46
TICKS = 5
LEAST = 1e-9
"""What is smaller is nothing: no millisecond, rate or share of a load test is."""

Place = Callable[[float], float]
"""Where on the plot a value lies, in pixels."""


@dataclass(frozen=True, slots=True)
class Series:
    """A line through points; `style` is its class in the page's style sheet. A point without y is left out."""

    name: str
    style: str
    points: Sequence[tuple[float, float | None]]


@dataclass(frozen=True, slots=True)
class Guide:
    """A dashed line across the plot: at this x, or at this y."""

    name: str
    x: float | None = None
    y: float | None = None


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis shows. A logarithmic one has no zero."""

    title: str
    is_log: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """A horizontal bar of parts, each a class in the page's style sheet and a length."""

    name: str
    parts: Sequence[tuple[str, float]]


def draw_lines(
    title: str, x_axis: Axis, y_axis: Axis, series: Sequence[Series], guides: Sequence[Guide] = (), *, dots: bool = True
) -> str:
    """Return a plot of lines with its legend."""
    shown = [Series(one.name, one.style, _usable(one.points, x_axis, y_axis)) for one in series]
    points = [point for one in shown for point in one.points]
    xs = [x for x, _ in points] + [guide.x for guide in guides if guide.x is not None]
    ys = [y for _, y in points if y is not None] + [guide.y for guide in guides if guide.y is not None]
    if not points:
        return _frame(title, ['<text class="axis" x="280" y="150" text-anchor="middle">nothing was answered</text>'])
    place_x, ticks_x = _scale(xs, LEFT_PX, WIDTH_PX - RIGHT_PX, is_log=x_axis.is_log)
    place_y, ticks_y = _scale(ys, HEIGHT_PX - BOTTOM_PX, TOP_PX, is_log=y_axis.is_log)
    parts = [*_grid(ticks_x, ticks_y, place_x, place_y), *_titles(x_axis, y_axis)]
    for guide in guides:
        parts.append(_guide(guide, place_x, place_y))
    for one in shown:
        placed = [(place_x(x), place_y(y)) for x, y in one.points if y is not None]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline class="line {one.style}" points="{path}"/>')
        if dots:
            parts += [f'<circle class="dot {one.style}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in placed]
    return _frame(title, parts + _legend([(one.name, one.style) for one in shown]))


def draw_bars(title: str, unit: str, bars: Sequence[Bar], names: Sequence[tuple[str, str]]) -> str:
    """Return stacked horizontal bars; `names` pairs the name of each part with its class, in the legend's order."""
    name_of = {style: name for name, style in names}
    longest = max((sum(length for _, length in bar.parts) for bar in bars), default=0.0)
    if longest <= 0:
        return _frame(title, ['<text class="axis" x="280" y="150" text-anchor="middle">no timings</text>'])
    place, ticks = _scale([0.0, longest], LEFT_PX, WIDTH_PX - RIGHT_PX, is_log=False)
    height = (HEIGHT_PX - TOP_PX - BOTTOM_PX) / len(bars)
    parts = [*_grid(ticks, [], place, place), *_titles(Axis(unit), Axis(""))]
    for number, bar in enumerate(bars):
        top, begun = TOP_PX + height * number + height * 0.15, 0.0
        parts.append(_text(LEFT_PX - 6, top + height * 0.45, bar.name, "end"))
        for style, length in bar.parts:
            left, right = place(begun), place(begun + length)
            box = f'x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{height * 0.7:.1f}"'
            tooltip = escape(f"{name_of[style]}: {length:.1f}")
            parts.append(f'<rect class="bar {style}" {box}><title>{tooltip}</title></rect>')
            begun += length
    return _frame(title, parts + _legend(names))


def _usable(points: Sequence[tuple[float, float | None]], x_axis: Axis, y_axis: Axis) -> list[tuple[float, float]]:
    return [
        (x, y)
        for x, y in points
        if y is not None and (x > LEAST or not x_axis.is_log) and (y > LEAST or not y_axis.is_log)
    ]


def _scale(values: Sequence[float], begin_px: float, end_px: float, *, is_log: bool) -> tuple[Place, list[float]]:
    """Return what places a value, and the values to mark."""
    low, high = (min(values), max(values)) if is_log else (0.0, max(values))
    if is_log:
        low, high = low / 1.1, high * 1.1
        ticks = _log_ticks(low, high)

        def place_log(value: float) -> float:
            share = (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
            return begin_px + share * (end_px - begin_px)

        return place_log, ticks
    high = high * 1.05 if high > LEAST else 1.0
    step = _round_step(high / TICKS)
    ticks = [step * number for number in range(int(high / step) + 1)]
    return lambda value: begin_px + value / high * (end_px - begin_px), ticks


def _log_ticks(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    ticks = [digit * 10.0**power for power in range(first, last + 1) for digit in (1, 2, 5)]
    shown = [tick for tick in ticks if low <= tick <= high]
    return shown if len(shown) <= 2 * TICKS else [tick for tick in shown if math.log10(tick).is_integer()]


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= step * 0.999)


def _grid(
    ticks_x: Sequence[float],
    ticks_y: Sequence[float],
    place_x: Callable[[float], float],
    place_y: Callable[[float], float],
) -> list[str]:
    bottom, right = HEIGHT_PX - BOTTOM_PX, WIDTH_PX - RIGHT_PX
    parts: list[str] = []
    for tick in ticks_x:
        x = place_x(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{TOP_PX}" x2="{x:.1f}" y2="{bottom}"/>')
        parts.append(_text(x, bottom + 15, f"{tick:g}", "middle"))
    for tick in ticks_y:
        y = place_y(tick)
        parts.append(f'<line class="grid" x1="{LEFT_PX}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
        parts.append(_text(LEFT_PX - 6, y + 4, f"{tick:g}", "end"))
    return parts


def _titles(x_axis: Axis, y_axis: Axis) -> list[str]:
    middle = (TOP_PX + HEIGHT_PX - BOTTOM_PX) / 2
    turned = f'<text class="axis" transform="translate(14 {middle:.0f}) rotate(-90)" text-anchor="middle">'
    return [
        _text((LEFT_PX + WIDTH_PX - RIGHT_PX) / 2, HEIGHT_PX - 10, x_axis.title, "middle"),
        f"{turned}{escape(y_axis.title)}</text>",
    ]


def _guide(guide: Guide, place_x: Place, place_y: Place) -> str:
    bottom, right = HEIGHT_PX - BOTTOM_PX, WIDTH_PX - RIGHT_PX
    if guide.x is not None:
        x = place_x(guide.x)
        line = f'<line class="guide" x1="{x:.1f}" y1="{TOP_PX}" x2="{x:.1f}" y2="{bottom}"/>'
        return line + _text(x - 4, bottom - 6, guide.name, "end")
    y = place_y(guide.y or 0.0)
    line = f'<line class="guide" x1="{LEFT_PX}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>'
    above, below = y - 4, y + 13
    return line + _text(LEFT_PX + 4, above if above > TOP_PX + 8 else below, guide.name, "start")


def _legend(entries: Sequence[tuple[str, str]]) -> list[str]:
    parts: list[str] = []
    x = float(LEFT_PX)
    for name, style in entries:
        parts.append(f'<rect class="bar {style}" x="{x:.0f}" y="10" width="10" height="10"/>')
        parts.append(_text(x + 14, 19, name, "start"))
        x += 26 + 6.6 * len(name)
    return parts


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text class="axis" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _frame(title: str, parts: Sequence[str]) -> str:
    inside = "".join(parts)
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {WIDTH_PX} {HEIGHT_PX}" role="img" '
        f'aria-label="{escape(title, quote=True)}">{inside}</svg></figure>'
    )
