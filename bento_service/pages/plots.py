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
    """Return a plot of lines with its legend; a text where there is no point."""
    plot = _Plot(title, canvas)
    placed = {(one.name, one.style): _usable(one.points, x_axis, y_axis) for one in series}
    points = [point for some in placed.values() for point in some]
    if not points:
        return plot.finish_empty("nothing was answered")
    plot.add_legend(list(placed))
    xs = [x for x, _ in points] + [guide.x for guide in guides if guide.x is not None]
    ys = [y for _, y in points] + [guide.y for guide in guides if guide.y is not None]
    place_x, place_y = plot.add_x_axis(xs, x_axis), plot.add_y_axis(ys, y_axis)
    for guide in guides:
        if guide.x is not None:
            x = place_x(guide.x)
            plot.add_line("guide", x, plot.top, x, plot.bottom)
            plot.add_text(x - 4, plot.bottom - 6, guide.name, "end")
        if guide.y is not None:
            y = place_y(guide.y)
            plot.add_line("guide", plot.left, y, plot.right, y)
            plot.add_text(plot.left + 4, y - 4 if y - 4 > plot.top + 8 else y + 13, guide.name, "start")
    for (_, style), some in placed.items():
        pixels = [(f"{place_x(x):.1f}", f"{place_y(y):.1f}") for x, y in some]
        plot.parts.append(f'<polyline class="line {style}" points="{" ".join(f"{x},{y}" for x, y in pixels)}"/>')
        if dots:
            plot.parts += [f'<circle class="dot {style}" cx="{x}" cy="{y}" r="3"/>' for x, y in pixels]
    return plot.finish()


def draw_bars(unit: str, bars: Sequence[Bar], styles: Sequence[str], *, title: str) -> str:
    """Return stacked horizontal bars; `styles` are the classes of the parts, which are also their names."""
    plot = _Plot(title, Canvas())
    longest = max((sum(length for _, length in bar.parts) for bar in bars), default=0.0)
    if longest <= 0:
        return plot.finish_empty("no timings")
    plot.add_legend([(style, style) for style in styles])
    place = plot.add_x_axis([longest], Axis(unit))
    height = (plot.bottom - plot.top) / len(bars)
    for number, bar in enumerate(bars):
        top, begun = plot.top + height * (number + 0.15), 0.0
        plot.add_text(LEFT_PX - 6, top + height * 0.45, bar.name, "end")
        for style, length in bar.parts:
            left, right = place(begun), place(begun + length)
            plot.add_box(style, left, top, (right - left, height * 0.7), f"{style}: {length:.1f}")
            begun += length
    return plot.finish()


class _Plot:
    """The parts of an SVG, and the area between its axes in pixels."""

    def __init__(self, title: str, canvas: Canvas) -> None:
        self.parts: list[str] = []
        self.left, self.right = float(LEFT_PX), float(canvas.width_px - RIGHT_PX)
        self.top, self.bottom = 10.0 + (LEGEND_ROW_PX if canvas.style_sheet else 0), float(canvas.height_px - BOTTOM_PX)
        self._title = escape(title, quote=True)
        self._canvas = canvas

    def add_line(self, style: str, x1: float, y1: float, x2: float, y2: float) -> None:
        self.parts.append(f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')

    def add_text(self, x: float, y: float, words: str, anchor: str, *, is_turned: bool = False) -> None:
        place = f'transform="translate({x:.0f} {y:.0f}) rotate(-90)"' if is_turned else f'x="{x:.1f}" y="{y:.1f}"'
        self.parts.append(f'<text class="axis" {place} text-anchor="{anchor}">{escape(words)}</text>')

    def add_box(self, style: str, x: float, y: float, size: tuple[float, float], hint: str = "") -> None:
        place = f'x="{x:.1f}" y="{y:.1f}" width="{size[0]:.1f}" height="{size[1]:.1f}"'
        self.parts.append(f'<rect class="bar {style}" {place}>{hint and f"<title>{escape(hint)}</title>"}</rect>')

    def add_legend(self, entries: Sequence[tuple[str, str]]) -> None:
        """Draw names with their styles, in as many rows as they need, and move the top of the area below them."""
        x, y = self.left, self.top
        for name, style in entries:
            width = 26 + 6.6 * len(name)
            if x > self.left and x + width > self._canvas.width_px:
                x, y = self.left, y + LEGEND_ROW_PX
            self.add_box(style, x, y, (10, 10))
            self.add_text(x + 14, y + 9, name, "start")
            x += width
        self.top = y + TOP_PX - 10

    def add_x_axis(self, values: Sequence[float], axis: Axis) -> Place:
        """Draw an axis with its ticks, and return its scale."""
        place, ticks = _scale(values, self.left, self.right, axis)
        for tick in ticks:
            self.add_line("grid", place(tick), self.top, place(tick), self.bottom)
            self.add_text(place(tick), self.bottom + 15, f"{tick:g}", "middle")
        self.add_text((self.left + self.right) / 2, self.bottom + BOTTOM_PX - 10, axis.title, "middle")
        return place

    def add_y_axis(self, values: Sequence[float], axis: Axis) -> Place:
        """As `add_x_axis`."""
        place, ticks = _scale(values, self.bottom, self.top, axis)
        for tick in ticks:
            self.add_line("grid", self.left, place(tick), self.right, place(tick))
            self.add_text(self.left - 6, place(tick) + 4, f"{tick:g}", "end")
        self.add_text(14, (self.top + self.bottom) / 2, axis.title, "middle", is_turned=True)
        return place

    def finish_empty(self, words: str) -> str:
        self.add_text(self._canvas.width_px / 2, self._canvas.height_px / 2, words, "middle")
        return self.finish()

    def finish(self) -> str:
        width_px, height_px, style_sheet = self._canvas.width_px, self._canvas.height_px, self._canvas.style_sheet
        xmlns = ground = ""
        if style_sheet:
            xmlns = ' xmlns="http://www.w3.org/2000/svg"'
            ground = f'<style>{style_sheet}</style><rect width="{width_px}" height="{height_px}" fill="#fff"/>'
            ground += f'<text class="title" x="{LEFT_PX}" y="18">{self._title}</text>\n'
        head = f'<svg{xmlns} viewBox="0 0 {width_px} {height_px}" role="img" aria-label="{self._title}">'
        return "\n".join([head + ground, *self.parts, "</svg>\n"])


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
