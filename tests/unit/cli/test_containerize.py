"""`bentoml containerize` as this package replaces it."""

import os
import tempfile
import tomllib
from collections import Counter
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import pytest
from bentoml_cli.containerize import containerize_command
from bentoml_cli.utils import BentoMLCommandGroup, opt_callback
from click.testing import CliRunner

from bento_service.cli.containerize import containerize, has_buildkit, in_temporary_folder, read_revision

TEMPORARY = Path(tempfile.gettempdir()).resolve()


@click.command("where")
@click.argument("code", type=int)
@click.option("--loud", is_flag=True)
def where(code: int, loud: bool) -> None:
    click.echo(f"{Path.cwd()} {loud}")
    raise SystemExit(code)


@pytest.mark.parametrize("code", [0, 3])
def test_a_command_runs_in_the_temporary_folder_and_comes_back_however_it_ends(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    result = CliRunner().invoke(in_temporary_folder(where), [str(code), "--loud"])

    assert (result.exit_code, result.stdout) == (code, f"{TEMPORARY} True\n")
    assert Path.cwd() == tmp_path.resolve()
    assert CliRunner().invoke(where, ["0"]).stdout == f"{tmp_path.resolve()} False\n"  # as it was


def test_bentomls_home_is_found_from_where_it_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def show() -> None:
        click.echo(os.environ["BENTOML_HOME"])

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENTOML_HOME", "home")

    assert CliRunner().invoke(in_temporary_folder(show)).stdout == f"{tmp_path / 'home'}\n"


def test_bentomls_command_line_takes_it_by_the_name_of_its_own() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    registered = project["entry-points"]["bentoml.commands"]

    assert registered.keys() == {containerize_command.name}
    assert EntryPoint("containerize", registered["containerize"], "bentoml.commands").load() is containerize
    assert containerize.name == containerize_command.name


def test_in_bentomls_command_line_each_option_is_there_once() -> None:
    moved = in_temporary_folder(where)
    for command in (where, moved):
        BentoMLCommandGroup("bentoml").add_command(command)

    options = [Counter(option for parameter in one.params for option in parameter.opts) for one in (where, moved)]
    assert options[0] == options[1]
    assert set(options[0].values()) == {1}


@pytest.mark.parametrize(("given", "noted"), [([], "REVISION="), (["--opt", "build-arg=REVISION=abc"], "REVISION=abc")])
def test_the_commit_is_noted_unless_one_is_given(given: list[str], noted: str) -> None:
    @click.command()
    @click.option("--opt", multiple=True, callback=opt_callback, expose_value=False)
    def build(_memoized: dict[str, tuple[str, ...]]) -> None:
        click.echo(_memoized["build_arg"])

    result = CliRunner().invoke(in_temporary_folder(build), given)

    assert result.exit_code == 0, result.output
    assert result.stdout.count("REVISION=") == 1
    assert noted in result.stdout


def test_where_there_is_no_checkout_the_commit_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert read_revision() == "unknown"


@pytest.mark.parametrize(("exit_code", "is_there"), [(0, True), (1, False), (None, False)])
def test_buildkit_is_there_if_docker_has_its_plug_in(
    exit_code: int | None, is_there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if exit_code is not None:
        docker = tmp_path / "docker"
        docker.write_text(f"#!/bin/sh\nexit {exit_code}\n")
        docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert has_buildkit() is is_there
