"""What the operator's pages name exists: settings, series, files, targets of make, services of Compose, alerts."""

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from bento_service.observability.metrics import Metrics
from bento_service.settings import Settings
from docs.sizing import PAGE, with_sizing
from tests.monitoring.deployed import read_alerts
from tests.unit.deploy.compose_files import COMPOSE, EXAMPLE, ROOT, variables_of

KUBERNETES = ROOT / "docs" / "operations-kubernetes.md"
SWARM_COMMAND = ROOT / "deploy" / "swarm" / "deploy"
OPERATORS_OWN = {"deploy/kubernetes/overlays/mine"}
every_page = pytest.mark.parametrize("page", [PAGE, KUBERNETES], ids=lambda page: page.name)


@every_page
def test_a_page_names_existing_variables(page: Path) -> None:
    known = {f"LIGHTBOX_{name.upper()}" for name in Settings.model_fields} | variables_of(COMPOSE).keys()
    known |= set(re.findall(r"LIGHTBOX_\w+", EXAMPLE.read_text() + SWARM_COMMAND.read_text()))
    named = set(re.findall(r"\b(?:LIGHTBOX|POSTGRES)_[A-Z0-9_]+\b", page.read_text()))

    assert named
    assert named - known == set()


def test_the_page_names_exported_series() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    exported = {sample.removesuffix("_total") for metric in registry.collect() for sample in [metric.name]}
    named = set(re.findall(r"`(lightbox_[a-z0-9_]+)`", PAGE.read_text())) - {"lightbox_api"}

    assert named
    assert {name.removesuffix("_total") for name in named} - exported == set()


@every_page
def test_a_page_names_existing_files(page: Path) -> None:
    text = page.read_text()
    named = {path.rstrip("/.") for path in re.findall(r"(?<![\w./-])(?:deploy|docs|tests|bench)/[\w./-]+", text)}
    named |= set(re.findall(r"`((?:\.env|docker-compose\.|Dockerfile)[\w.-]*)`", text))
    # What the operator writes, and what a block of the page begins with its own name.
    named -= {".env", "docker-compose.override.yml", *re.findall(r"```yaml\n# (\S+)", text), *OPERATORS_OWN}

    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_page_names_existing_targets_of_make() -> None:
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = set(re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)", PAGE.read_text(), re.MULTILINE))

    assert named
    assert {"".join(target) for target in named} <= set(targets)


def test_the_runbook_has_one_section_for_each_alert() -> None:
    _, _, runbook = PAGE.read_text().partition("## When an alert fires")
    sections = re.findall(r"^### (\w+)\n(.*?)(?=^### |\Z)", runbook, re.MULTILINE | re.DOTALL)

    assert [name for name, _ in sections] == [alert["alert"] for alert in read_alerts()]
    for name, text in sections:
        assert re.findall(r"^- \*\*(Means|Look at|Do)\b", text, re.MULTILINE) == ["Means", "Look at", "Do"], name


@pytest.mark.parametrize(
    "said",
    [
        "Receipts wait in memory: ",
        "The journal is written again",
        "does not serve the cache",
        "serves the cache again",
        "Drained: every admitted request is answered and in the journal.",
        "Stopped with work left undone",
        "was written by a newer Lightbox",
        "This worker cannot serve",
        "is warm",
        "has no effect: Lightbox reads no variable of that name",
    ],
)
def test_the_page_quotes_log_lines_as_they_are_logged(said: str) -> None:
    packages = (ROOT / "bento_service", ROOT / "lightbox_client")
    sources = "".join(file.read_text() for package in packages for file in package.rglob("*.py"))

    assert said.strip(": ") in " ".join(PAGE.read_text().split())
    assert said in sources


def test_the_pages_figures_are_of_the_newest_comparison() -> None:
    page = PAGE.read_text()

    assert page == with_sizing(page), "run `make docs`"
