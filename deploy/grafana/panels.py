"""Panels as Grafana's classic dashboard model holds them (schema version 39: Grafana 10.3 and later)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
GRID_COLUMNS = 24

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression, and the legend of its series: text with `{{label}}` in it."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart.

    `kind` and `unit` are Grafana's names of visualization and unit. `colours` gives series a fixed colour, by name or
    by a regular expression between slashes. `steps` are thresholds and the colours above them.
    """

    title: str
    description: str
    queries: Sequence[Query]
    unit: str
    kind: str = "timeseries"
    width: int = 12
    height: int = 8
    is_stacked: bool = False
    max_value: float | None = None
    colours: Mapping[str, str] = field(default_factory=dict)
    dashed: Sequence[str] = ()
    steps: Sequence[tuple[float, str]] = ()

    def to_json(self, number: int, x: int, y: int) -> Json:
        """Return the panel at a place of the board's grid; `number` is its id there."""
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "targets": [self._target(query, chr(ord("A") + place)) for place, query in enumerate(self.queries)],
            "fieldConfig": {"defaults": self._defaults(), "overrides": self._overrides()},
            "options": _OPTIONS[self.kind],
        }

    def _target(self, query: Query, letter: str) -> Json:
        is_single = self.kind == "stat"
        return {
            "refId": letter,
            "datasource": DATASOURCE,
            "editorMode": "code",
            "expr": query.expr,
            "legendFormat": query.legend,
            "instant": is_single,
            "range": not is_single,
            "format": "heatmap" if self.kind == "heatmap" else "time_series",
        }

    def _defaults(self) -> Json:
        defaults: Json = {"unit": self.unit, "min": 0, "noValue": "–"}
        if self.max_value is not None:
            defaults["max"] = self.max_value
        if self.kind == "stat":
            defaults["color"] = {"mode": "thresholds"}
            defaults["thresholds"] = {
                "mode": "absolute",
                "steps": [
                    {"color": colour, "value": None if place == 0 else value}
                    for place, (value, colour) in enumerate(self.steps)
                ],
            }
        elif self.kind == "timeseries":
            defaults["color"] = {"mode": "palette-classic"}
            defaults["custom"] = {
                "drawStyle": "line",
                "lineInterpolation": "linear",
                "lineWidth": 1,
                "fillOpacity": 60 if self.is_stacked else 0,
                "showPoints": "never",
                "spanNulls": False,
                "axisPlacement": "auto",
                "scaleDistribution": {"type": "linear"},
                "stacking": {"mode": "normal" if self.is_stacked else "none", "group": "A"},
            }
        return defaults

    def _overrides(self) -> list[Json]:
        names = [*self.colours, *(name for name in self.dashed if name not in self.colours)]
        return [
            {
                "matcher": {"id": "byRegexp" if name.startswith("/") else "byName", "options": name},
                "properties": [*self._colour_of(name), *self._dash_of(name)],
            }
            for name in names
        ]

    def _colour_of(self, name: str) -> list[Json]:
        if name not in self.colours:
            return []
        return [{"id": "color", "value": {"mode": "fixed", "fixedColor": self.colours[name]}}]

    def _dash_of(self, name: str) -> list[Json]:
        if name not in self.dashed:
            return []
        return [
            {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 6]}},
            {"id": "custom.fillOpacity", "value": 0},
            {"id": "custom.stacking", "value": {"mode": "none", "group": "A"}},
        ]


_OPTIONS: Mapping[str, Json] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    },
    "heatmap": {
        "calculate": False,
        "cellGap": 1,
        "cellValues": {"unit": "short"},
        "color": {"mode": "scheme", "scheme": "Blues", "steps": 32, "exponent": 0.5, "fill": "dark-blue"},
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "tooltip": {"show": True, "yHistogram": False},
        "yAxis": {"axisPlacement": "left", "reverse": False},
    },
}


def lay_out(rows: Mapping[str, Sequence[Panel]]) -> list[Json]:
    """Return titled rows and their panels, left to right and top down, numbered from 1."""
    placed: list[Json] = []
    y = 0
    for title, panels in rows.items():
        placed.append(_row(title, len(placed) + 1, y))
        y += 1
        x = line_height = 0
        for panel in panels:
            if x + panel.width > GRID_COLUMNS:
                x, y, line_height = 0, y + line_height, 0
            placed.append(panel.to_json(len(placed) + 1, x, y))
            x += panel.width
            line_height = max(line_height, panel.height)
        y += line_height
    return placed


def _row(title: str, number: int, y: int) -> Json:
    place = {"h": 1, "w": GRID_COLUMNS, "x": 0, "y": y}
    return {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}
