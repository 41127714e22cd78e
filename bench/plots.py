"""Plots as SVG: lines over two axes, and grouped bars. On white, so that any page can show them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 900, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 320, 40, 52
_COLOURS = ("#d1495b", "#30638e", "#00798c", "#edae49", "#6a4c93", "#5b8e7d", "#8d6a4f", "#b5b682", "#777777")

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Axis:
    """A scale from data to a share of the axis, in [0, 1]."""

    label: str
    low: float
    high: float
    is_logarithmic: bool = False

    def share(self, value: float) -> float:
        """Return where a value lies; what is outside is put on the edge."""
        low, high, value = (self._map(number) for number in (self.low, self.high, max(value, self.low)))
        return min(1.0, (value - low) / (high - low))

    def ticks(self) -> list[float]:
        """Return round values inside the axis."""
        if self.is_logarithmic:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            values = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
            return [value for value in values if self.low <= value <= self.high]
        step = _round_step((self.high - self.low) / 5)
        first = math.ceil(self.low / step)
        return [number * step for number in range(first, math.floor(self.high / step) + 1)]

    def _map(self, value: float) -> float:
        return math.log10(value) if self.is_logarithmic else value


def draw_lines(title: str, x: Axis, y: Axis, series: Mapping[str, Sequence[Point]], *, x_ticks: Sequence[float]) -> str:
    """Draw one line a name through its points."""
    drawn = []
    for number, points in enumerate(series.values()):
        colour = _COLOURS[number % len(_COLOURS)]
        places = [(_across(x.share(left)), _up(y.share(height))) for left, height in points]
        path = " ".join(f"{left:.1f},{top:.1f}" for left, top in places)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawn += [f'<circle cx="{left:.1f}" cy="{top:.1f}" r="3" fill="{colour}"/>' for left, top in places]
    labels = [_text(_across(x.share(tick)), _HEIGHT - _BOTTOM + 18, f"{tick:g}", "middle") for tick in x_ticks]
    centre = _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 10, x.label, "middle")
    return _page(title, [*_grid(y), *drawn, *labels, centre, *_legend(list(series))])


def draw_bars(title: str, y: Axis, groups: Sequence[str], series: Mapping[str, Sequence[float | None]]) -> str:
    """Draw a group of bars a name in `groups`, one bar a series in it; None leaves a gap."""
    width = (_WIDTH - _LEFT - _RIGHT) / len(groups)
    bar = 0.8 * width / len(series)
    drawn = []
    for number, values in enumerate(series.values()):
        for group, value in enumerate(values):
            if value is None:
                continue
            left, top = _LEFT + group * width + 0.1 * width + number * bar, _up(y.share(value))
            height = _HEIGHT - _BOTTOM - top
            colour = _COLOURS[number % len(_COLOURS)]
            drawn.append(
                f'<rect x="{left:.1f}" y="{top:.1f}" width="{bar * 0.92:.1f}" height="{height:.1f}" fill="{colour}"/>'
            )
    labels = [
        _text(_LEFT + (group + 0.5) * width, _HEIGHT - _BOTTOM + 18, name, "middle")
        for group, name in enumerate(groups)
    ]
    return _page(title, [*_grid(y), *drawn, *labels, *_legend(list(series))])


def _round_step(rough: float) -> float:
    decade: float = 10.0 ** math.floor(math.log10(rough))
    return next(step * decade for step in (1, 2, 5, 10) if step * decade >= rough)


def _across(share: float) -> float:
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _up(share: float) -> float:
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def _grid(y: Axis) -> list[str]:
    lines = []
    for tick in y.ticks():
        top = _up(y.share(tick))
        lines.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{top:.1f}" y2="{top:.1f}" stroke="#dddddd"/>')
        lines.append(_text(_LEFT - 6, top + 4, f"{tick:g}", "end"))
    return [*lines, _text(_LEFT, _TOP - 8, y.label, "start")]


def _legend(names: Sequence[str]) -> list[str]:
    left = _WIDTH - _RIGHT + 14
    items = []
    for number, name in enumerate(names):
        top = _TOP + 20 * number
        colour = _COLOURS[number % len(_COLOURS)]
        items.append(f'<rect x="{left}" y="{top}" width="12" height="12" fill="{colour}"/>')
        items.append(_text(left + 18, top + 10, name, "start"))
    return items


def _text(left: float, top: float, words: str, anchor: str) -> str:
    return f'<text x="{left:.1f}" y="{top:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _page(title: str, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'font-family="sans-serif" font-size="12" fill="#333333"><title>{escape(title)}</title>'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>'
        f'<text x="{_LEFT}" y="18" font-size="14" font-weight="bold">{escape(title)}</text>'
    )
    return "\n".join([head, *parts, "</svg>\n"])
