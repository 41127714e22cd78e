"""What is deployed is well formed, and tells a person what to do."""

import re
import subprocess
from pathlib import Path

import pytest

from deploy.grafana.board import render_board
from tests.monitoring.conftest import Programs
from tests.monitoring.deployed import BOARD, CONFIG, PROVISIONING, RULES, read_alerts, read_board, read_yaml

ROOT = Path(__file__).parents[2]
SEVERITIES = {"warning", "critical"}


def anchors(page: str) -> set[str]:
    """What a page of the repository may be asked for behind a #; empty where there is no such page."""
    file = ROOT / page
    headings = re.findall(r"^#+ (.+)$", file.read_text(), flags=re.MULTILINE) if file.is_file() else []
    return {heading.lower().replace(" ", "-") for heading in headings}


def test_promtool_takes_the_configuration(programs: Programs) -> None:
    subprocess.run([programs.promtool, "check", "config", "--syntax-only", str(CONFIG)], check=True)


def test_promtool_takes_the_rules_and_has_nothing_to_remark(programs: Programs) -> None:
    subprocess.run([programs.promtool, "check", "rules", "--lint=all", "--lint-fatal", str(RULES)], check=True)


@pytest.mark.parametrize("alert", read_alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_says_what_is_wrong_how_bad_it_is_and_where_to_read_on(alert: dict[str, dict[str, str]]) -> None:
    annotations = alert["annotations"]
    page, anchor = annotations["runbook"].split("#")

    assert alert["labels"]["severity"] in SEVERITIES
    assert annotations["summary"]
    assert annotations["description"].endswith(".")
    assert page == "docs/operations.md"
    assert anchor == str(alert["alert"]).lower()
    assert anchor in anchors(page)
    # Alertmanager and Grafana make a link of it, which a path in the repository is not.
    assert "runbook_url" not in annotations


def test_the_board_is_the_one_that_its_module_writes() -> None:
    assert BOARD.read_text() == render_board(), "run `make board`"


def test_the_boards_panels_do_not_overlap_and_fill_no_more_than_the_grid() -> None:
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


def test_every_panel_says_what_it_shows_and_in_which_unit() -> None:
    panels = [panel for panel in read_board()["panels"] if panel["type"] != "row"]

    assert panels
    for panel in panels:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)


def test_grafana_finds_prometheus_and_scrapes_agree_with_its_shortest_interval() -> None:
    (source,) = read_yaml(PROVISIONING / "datasources" / "prometheus.yml")["datasources"]

    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == read_yaml(CONFIG)["global"]["scrape_interval"]
