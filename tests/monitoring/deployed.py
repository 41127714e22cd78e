"""The deployed files of Prometheus and Grafana."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
CONFIG = DEPLOY / "prometheus" / "prometheus.yml"
RULES = DEPLOY / "prometheus" / "rules" / "lightbox.yml"
BOARD = DEPLOY / "grafana" / "dashboards" / "lightbox.json"
PROVISIONING = DEPLOY / "grafana" / "provisioning"

_SELECTOR = re.compile(r"\b(?:lightbox[a-z0-9_:]*|up)(?:\{[^}]*\})?")


@dataclass(frozen=True)
class Target:
    """One query of one panel."""

    panel: str
    expr: str
    legend: str


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def read_rules() -> list[dict[str, Any]]:
    return [rule for group in read_yaml(RULES)["groups"] for rule in group["rules"]]


def read_alerts() -> list[dict[str, Any]]:
    return [rule for rule in read_rules() if "alert" in rule]


def read_board() -> dict[str, Any]:
    board: dict[str, Any] = json.loads(BOARD.read_text())
    return board


def read_targets() -> list[Target]:
    return [
        Target(panel["title"], target["expr"], target["legendFormat"])
        for panel in read_board()["panels"]
        for target in panel.get("targets", ())
    ]


def fill_in(expr: str, *, interval: str = "30s") -> str:
    """An expression of the board as Grafana sends it, for every replica and model."""
    return expr.replace("$__rate_interval", interval).replace("$instance", ".*").replace("$model", ".*")


def selectors_of(expr: str) -> set[str]:
    """The series of an expression, with their label matchers."""
    return set(_SELECTOR.findall(re.sub(r"(by|on|group_left) \([^)]*\)", "", expr)))
