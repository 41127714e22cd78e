"""The Grafana board. `python -m deploy.grafana.board` writes it; a test holds it up to date."""

import json
from pathlib import Path

from deploy.grafana.panels import DATASOURCE, Json, lay_out
from deploy.grafana.rows import build_rows

BOARD = Path(__file__).parent / "dashboards" / "lightbox.json"


_VISIBLE: Json = {"regex": "", "options": [], "hide": 0, "skipUrlSync": False}


def _variable(name: str, label: str, query: str) -> Json:
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "refresh": 2,
        "sort": 1,
        **_VISIBLE,
    }


def build_board() -> Json:
    """Return the board as Grafana reads it."""
    datasource = {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
        "current": {},
        "multi": False,
        "includeAll": False,
        "refresh": 1,
        **_VISIBLE,
    }
    return {
        "uid": "lightbox",
        "title": "Lightbox",
        "description": "Throughput, latency against its target, and where time and errors come from.",
        "tags": ["lightbox"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timepicker": {},
        "links": [],
        "annotations": {"list": []},
        "templating": {
            "list": [
                datasource,
                _variable("instance", "Replica", "label_values(lightbox_workers, instance)"),
                _variable("model", "Model", "label_values(lightbox_requests_total, model)"),
            ]
        },
        "panels": lay_out(build_rows()),
    }


def render_board() -> str:
    """Return the board's file."""
    return json.dumps(build_board(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    BOARD.write_text(render_board())
