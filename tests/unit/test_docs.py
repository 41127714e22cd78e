"""The README says what the code does."""

import re

from typer.testing import CliRunner

from bento_service.cli import app
from docs.tables import BENCHMARKS, README, with_containers, with_tables


def test_the_readmes_tables_are_those_of_the_code() -> None:
    readme = README.read_text()

    assert readme == with_tables(readme), "run `make docs`"


def test_the_benchmarks_of_containers_are_those_measured_last() -> None:
    page = BENCHMARKS.read_text()

    assert page == with_containers(page), "run `make docs`"


def test_every_command_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"lightbox (\w+)", README.read_text())) - {"classifier"}
    commands = {command for command in named if CliRunner().invoke(app, [command, "--help"]).exit_code == 0}

    assert named
    assert commands == named


def test_every_file_that_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\(((?!https?:)[^)#]+)\)", README.read_text())

    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []
