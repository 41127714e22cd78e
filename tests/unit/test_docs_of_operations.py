"""What the operator's pages name exists: settings, series, files, targets of make, services of Compose, alerts."""

import re
import shlex
import statistics
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from bench.containers.result import BY_ADDRESS, BY_LOOPBACK, HOST_NETWORK, read_figures
from bench.environment import find_newest_result
from bento_service.cli.app import app
from bento_service.observability.metrics import Metrics
from bento_service.settings import Settings
from docs.sizing import PAGE, with_sizing
from tests.monitoring.deployed import read_alerts, read_board
from tests.unit.deploy.compose_files import COMPOSE, EXAMPLE, ROOT, services_of, variables_of

KUBERNETES = ROOT / "docs" / "operations-kubernetes.md"
SWARM_COMMAND = ROOT / "deploy" / "swarm" / "deploy"
SERVICES = services_of(COMPOSE)
GLOBAL_FLAGS = {"--profile", "-f"}
SIGNALS = {"HUP"}
FOR_ONE_SERVICE = {"exec", "run"}
OPERATORS_OWN = {"deploy/kubernetes/overlays/mine"}
OF_OTHERS = {
    *("Status, Targets", "This worker cannot serve", "Receipts wait in memory", "No worker gets ready"),
    *("Worker 1 (pid …) was ended by …", "was killed because it hung", "Fatal Python error"),
}
"""What the runbook emphasises that is no panel: a page of Prometheus, lines of the log."""
every_page = pytest.mark.parametrize("page", [PAGE, KUBERNETES], ids=lambda page: page.name)


def commands_of(page: Path) -> list[str]:
    """The lines of a page's shell blocks, those that go on put together."""
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(), flags=re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def services_named_by(command: str) -> list[str]:
    """The services that a command of Compose is about."""
    found = re.search(r"^(?:\w+=\S+ )?docker compose (.*)", command)
    words = iter(shlex.split(found[1]) if found else ())
    subcommand, services = "", []
    for word in words:
        if word in GLOBAL_FLAGS:
            next(words)
        elif word == "--scale":
            services.append(next(words).partition("=")[0])
        elif not subcommand:
            subcommand = word
        elif word in SIGNALS or word.startswith("-"):
            continue
        else:
            services.append(word)
            if subcommand in FOR_ONE_SERVICE:
                break
    return services


def anchor_of(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@every_page
def test_every_variable_that_a_page_names_is_one_that_something_reads(page: Path) -> None:
    known = {f"LIGHTBOX_{name.upper()}" for name in Settings.model_fields} | variables_of(COMPOSE).keys()
    known |= set(re.findall(r"LIGHTBOX_\w+", EXAMPLE.read_text() + SWARM_COMMAND.read_text()))
    named = set(re.findall(r"\b(?:LIGHTBOX|POSTGRES)_[A-Z0-9_]+\b", page.read_text()))

    assert named
    assert named - known == set()


def test_every_series_that_the_page_names_is_exported() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    exported = {sample.removesuffix("_total") for metric in registry.collect() for sample in [metric.name]}
    named = set(re.findall(r"`(lightbox_[a-z0-9_]+)`", PAGE.read_text())) - {"lightbox_api"}

    assert named
    assert {name.removesuffix("_total") for name in named} - exported == set()


@every_page
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    named = {path.rstrip("/.") for path in re.findall(r"(?<![\w./-])(?:deploy|docs|tests|bench)/[\w./-]+", text)}
    named |= set(re.findall(r"`((?:\.env|docker-compose\.|Dockerfile)[\w.-]*)`", text))
    # What the operator writes, and what a block of the page begins with its own name.
    named -= {".env", "docker-compose.override.yml", *re.findall(r"```yaml\n# (\S+)", text), *OPERATORS_OWN}

    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


@every_page
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(((?!https?:)[^)]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE) if anchor else []
        assert not anchor or anchor in map(anchor_of, headings), link


def test_every_target_of_make_that_the_page_names_exists() -> None:
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = set(re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)", PAGE.read_text(), re.MULTILINE))

    assert named
    assert {"".join(target) for target in named} <= set(targets)


def test_every_command_of_lightbox_that_the_page_names_exists() -> None:
    named = re.findall(r"(?:bin/lightbox|lightbox:latest) ([a-z]+)", "\n".join(commands_of(PAGE)))
    ours = [command for command in named if command not in {"sh"}]

    assert ours
    assert all(CliRunner().invoke(app, [command, "--help"]).exit_code == 0 for command in ours)


def test_every_service_and_profile_that_the_page_names_is_in_the_compose_file() -> None:
    prose = re.sub(r"```.*?```", "", PAGE.read_text(), flags=re.DOTALL)
    inline = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]
    services = {service for command in [*commands_of(PAGE), *inline] for service in services_named_by(command)}
    profiles = set(re.findall(r"(?:--profile |profile\s`)(\w+)", PAGE.read_text()))

    assert {"api", "postgres", "prometheus"} <= services <= SERVICES.keys()
    assert profiles == {profile for service in SERVICES.values() for profile in service.get("profiles", ())}


def test_the_page_has_a_section_for_each_alert_and_for_no_other() -> None:
    _, _, runbook = PAGE.read_text().partition("## When an alert fires")
    sections = re.findall(r"^### (\w+)\n(.*?)(?=^### |\Z)", runbook, re.MULTILINE | re.DOTALL)

    assert [name for name, _ in sections] == [alert["alert"] for alert in read_alerts()]
    for name, text in sections:
        assert re.findall(r"^- \*\*(Means|Look at|Do)\b", text, re.MULTILINE) == ["Means", "Look at", "Do"], name


def test_every_panel_that_the_page_names_is_on_the_board() -> None:
    _, _, runbook = PAGE.read_text().partition("### ")
    emphasised = {" ".join(text.split()) for text in re.findall(r"\*([^*]+)\*", runbook.replace("**", ""))}

    assert emphasised - OF_OTHERS <= {panel["title"] for panel in read_board()["panels"]}
    assert len(emphasised - OF_OTHERS) > 5


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
def test_what_the_page_says_of_the_log_is_what_is_logged(said: str) -> None:
    packages = (ROOT / "bento_service", ROOT / "lightbox_client")
    sources = "".join(file.read_text() for package in packages for file in package.rglob("*.py"))

    assert said.strip(": ") in " ".join(PAGE.read_text().split())
    assert said in sources


def test_the_blocks_of_yaml_can_be_read() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)

    override, alerting = (yaml.safe_load(block) for block in blocks)

    assert override["services"].keys() <= SERVICES.keys()
    assert alerting.keys() == {"alerting"}


def test_the_price_of_a_published_port_is_the_one_measured_last() -> None:
    path = find_newest_result("containers")
    assert path is not None
    figures, page = read_figures(path), PAGE.read_text()
    ratios = [statistics.median(figures.ratios(side)) for side in (HOST_NETWORK, BY_ADDRESS, BY_LOOPBACK)]
    _, _, paragraph = page.partition("**A published port**")

    assert re.findall(r"\d\.\d{3}", paragraph.partition("\n\n")[0]) == [f"{ratio:.3f}" for ratio in ratios]


def test_the_pages_figures_are_those_of_the_newest_comparison() -> None:
    page = PAGE.read_text()

    assert page == with_sizing(page), "run `make docs`"
