"""Rules, configuration and board are valid and complete."""

import re
import subprocess
from pathlib import Path

import pytest

from deploy.grafana.board import render_board
from tests.monitoring.conftest import Programs
from tests.monitoring.deployed import BOARD, CONFIG, PROVISIONING, RULES, read_alerts, read_board, read_yaml

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


def test_promtool_accepts_the_configuration(programs: Programs) -> None:
    subprocess.run([programs.promtool, "check", "config", "--syntax-only", str(CONFIG)], check=True)


def test_promtool_accepts_the_rules_without_a_remark(programs: Programs) -> None:
    subprocess.run([programs.promtool, "check", "rules", "--lint=all", "--lint-fatal", str(RULES)], check=True)


@pytest.mark.parametrize("alert", read_alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_has_severity_description_and_runbook(alert: dict[str, dict[str, str]]) -> None:
    annotations = alert["annotations"]
    headings = re.findall(r"^#+ (.+)$", PAGE.read_text(), flags=re.MULTILINE)

    assert alert["labels"]["severity"] in {"warning", "critical"}
    assert annotations["summary"]
    assert annotations["description"].endswith(".")
    assert annotations["runbook"] == f"docs/operations.md#{str(alert['alert']).lower()}"
    assert alert["alert"] in headings
    # Alertmanager and Grafana make a link of it, which a path in the repository is not.
    assert "runbook_url" not in annotations


def test_the_board_is_written_from_its_module() -> None:
    assert BOARD.read_text() == render_board(), "run `make board`"


def test_panels_do_not_overlap_and_stay_within_the_grid() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in read_board()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_panel_has_description_unit_and_unique_title() -> None:
    panels = [panel for panel in read_board()["panels"] if panel["type"] != "row"]

    assert panels
    assert [panel["title"] for panel in panels if not panel["fieldConfig"]["defaults"]["unit"]] == []
    assert [panel["title"] for panel in panels if not panel["description"].endswith(".")] == []
    assert len({panel["title"] for panel in panels}) == len({panel["id"] for panel in panels}) == len(panels)


def test_grafanas_shortest_interval_is_that_of_the_scrapes() -> None:
    (source,) = read_yaml(PROVISIONING / "datasources" / "prometheus.yml")["datasources"]

    assert source["jsonData"]["timeInterval"] == read_yaml(CONFIG)["global"]["scrape_interval"]
