"""The README says what the code does."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bento_service.cli.app import app
from docs.tables import BENCHMARKS, README, with_sections, with_tables

ROOT = README.parent
NOTES = ROOT / "bench" / "notes.md"
PAGES = [*ROOT.glob("*.md"), *(page for folder in ("bench", "docs") for page in (ROOT / folder).rglob("*.md"))]


def test_the_readmes_tables_are_written_from_the_code() -> None:
    readme = README.read_text()

    assert readme == with_tables(readme), "run `make docs`"


def test_the_benchmarks_page_has_the_newest_results() -> None:
    page = BENCHMARKS.read_text()

    assert page == with_sections(page), "run `make docs`"


def test_the_readme_names_existing_commands() -> None:
    named = set(re.findall(r"(?<!/)lightbox (\w+)", README.read_text())) - {"classifier"}
    commands = {command for command in named if CliRunner().invoke(app, [command, "--help"]).exit_code == 0}

    assert named
    assert commands == named


def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_has_a_target(page: Path) -> None:
    for link in re.findall(r"\]\(((?!https?:)[^)]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


def test_the_benchmarks_page_includes_the_notes() -> None:
    assert NOTES.read_text().rstrip() in BENCHMARKS.read_text()


def test_contributing_explains_every_suite_of_tests() -> None:
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    targets = set(re.findall(r"^(test[a-z-]*|check):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    suites = {folder.parent.name for folder in (ROOT / "tests").glob("*/__init__.py")} - {"fakes"}

    assert {"test", "test-containers"} <= targets
    assert [target for target in targets if f"make {target}" not in contributing] == []
    assert [suite for suite in suites if not re.search(rf"\b{suite}\b", contributing)] == []
