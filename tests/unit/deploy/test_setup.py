"""install/setup, with fakes of Python and uv on the `PATH`: which Python it takes, and what it keeps."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TOOLS = ("cat", "chmod", "cksum", "cp", "dirname", "head", "make", "mkdir", "mv", "rm", "sed", "sh")
PYTHON = """#!/bin/sh
echo "$0 $*" >>"$SAID"
case "$*" in
    *version_info*) echo {version} ;;
    *"-m venv"*) for folder; do :; done; mkdir -p "$folder/bin"; cp "$0" "$folder/bin/python" ;;
    *"-m pip"*) cp "$UV" "${{0%/*}}/uv" ;;
esac
"""
UV = """#!/bin/sh
echo "uv $*" >>"$SAID"
case "$1" in
    --version) echo "uv ${UV_VERSION:-0.13.9}" ;;
    pip) [ -z "${INTERRUPTED:-}" ] || exit 1 ;;
    venv)
        for folder; do :; done
        case "$5" in ">="*) exit 2 ;; esac
        rm -rf "$folder"
        mkdir -p "$folder/bin"
        cp "$(command -v "$5")" "$folder/bin/python" ;;
esac
"""


class Machine:
    """A checkout whose path has a space, a `PATH` with nothing but what is put there, and what ran."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "a checkout"
        self.programs = folder / "bin"
        self.said = folder / "said"
        self.uv = folder / "uv"
        self.uv.write_text(UV)
        self.uv.chmod(0o755)
        self.programs.mkdir()
        for name in TOOLS:
            (self.programs / name).symlink_to(str(shutil.which(name)))
        shutil.copytree(ROOT / "install", self.checkout / "install")
        for path in [*ROOT.glob("requirements*"), ROOT / "pyproject.toml", ROOT / "Makefile"]:
            shutil.copy(path, self.checkout)

    def add_python(self, name: str, version: str, folder: Path | None = None) -> Path:
        path = (folder or self.programs) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PYTHON.format(version=version))
        path.chmod(0o755)
        return path

    def add_uv(self) -> None:
        shutil.copy(self.uv, self.programs)

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the checkout; `said` then holds what it ran."""
        self.said.write_text("")
        environment = {"PATH": str(self.programs), "SAID": str(self.said), "UV": str(self.uv), **variables}
        return subprocess.run(
            command, cwd=self.checkout, env=environment, capture_output=True, text=True, check=False, timeout=60
        )

    def set_up(self, *extras: str, **variables: str) -> str:
        """Run install/setup and return which extras and which Python the environment has."""
        done = self.run("install/setup", *extras, **variables)
        assert done.returncode == 0, done.stderr
        record = (self.checkout / ".venv" / ".installed").read_text().splitlines()
        return f"{record[0].rpartition(', ')[2]}, {record[-1]}"

    def installed_sets(self) -> list[str]:
        """The requirement files that uv installed."""
        arguments = self.said.read_text().split()
        return [word for word in arguments if word.startswith("requirements-") and word.endswith(".txt")]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_newest_python_is_taken_whatever_its_name(machine: Machine) -> None:
    machine.add_uv()
    machine.add_python("python3", "3.13")
    machine.add_python("python3.11", "3.11")

    assert machine.set_up() == "Python 3.13, extras:"


def test_a_python_that_is_named_is_taken_though_its_path_has_a_space(machine: Machine) -> None:
    machine.add_uv()
    machine.add_python("python3", "3.13")
    named = machine.add_python("python3", "3.12", machine.checkout.parent / "my pythons")

    assert machine.set_up(PYTHON=str(named)) == "Python 3.12, extras:"


@pytest.mark.parametrize(
    ("version", "variables", "reason"),
    [
        ("", {}, "there is no python3 here."),
        ("3.10", {}, "python3 here is 3.10."),
        ("3.12", {"PYTHON": "/nowhere/python3"}, "PYTHON=/nowhere/python3 does not run"),
    ],
)
@pytest.mark.parametrize("has_uv", [False, True])
def test_without_a_suitable_python_setup_says_what_to_do(
    machine: Machine, version: str, variables: dict[str, str], reason: str, has_uv: bool
) -> None:
    if version:
        machine.add_python("python3", version)
    if has_uv:
        machine.add_uv()  # and it can download none

    done = machine.run("install/setup", **variables)

    assert done.returncode == 1
    assert f"make: Lightbox needs Python 3.11 to 3.14, and {reason}" in done.stderr


@pytest.mark.parametrize("users_uv", [None, "0.12.20", "0.9.1"])
def test_the_pinned_uv_is_installed_where_the_user_has_none_that_suffices(
    machine: Machine, users_uv: str | None
) -> None:
    machine.add_python("python3", "3.12")
    if users_uv:
        machine.add_uv()

    # The fake that pip installs tells the same version, which is not asked for again.
    assert machine.set_up(UV_VERSION=users_uv or "0.13.9") == "Python 3.12, extras:"
    assert " --require-hashes -r /dev/stdin" in machine.said.read_text()


def test_an_environment_that_is_up_to_date_is_left_alone(machine: Machine) -> None:
    machine.add_uv()
    machine.add_python("python3", "3.12")
    machine.set_up("torch")

    assert machine.set_up("torch") == "Python 3.12, extras: torch"
    assert "uv" not in machine.said.read_text()


def test_extras_stay_when_others_are_added(machine: Machine) -> None:
    machine.add_uv()
    machine.add_python("python3", "3.12")
    machine.set_up("torch")

    assert machine.set_up("dev") == "Python 3.12, extras: torch dev"
    assert "uv venv" not in machine.said.read_text()
    assert {"requirements-torch.txt", "requirements-dev.txt"} < set(machine.installed_sets())


def test_an_unknown_extra_is_refused_before_anything_is_done(machine: Machine) -> None:
    machine.add_uv()
    machine.add_python("python3", "3.12")

    done = machine.run("install/setup", "torch", "tensorflow")

    assert done.returncode == 1
    assert done.stderr == "make: there is no extra 'tensorflow'; there are: torch onnxruntime dev\n"
    assert not (machine.checkout / ".venv").exists()


def test_an_interrupted_installation_is_made_anew_with_the_extras_it_had(machine: Machine) -> None:
    machine.add_uv()
    machine.add_python("python3", "3.12")
    machine.set_up("onnxruntime")

    assert machine.run("install/setup", "dev", INTERRUPTED="yes").returncode != 0
    assert machine.set_up() == "Python 3.12, extras: onnxruntime"
    assert "uv venv" in machine.said.read_text()


def test_an_environment_that_was_moved_is_made_anew(machine: Machine) -> None:
    machine.add_uv()
    machine.add_python("python3", "3.12")
    machine.set_up("torch")
    machine.checkout = machine.checkout.rename(machine.checkout.with_name("elsewhere"))

    assert machine.set_up() == "Python 3.12, extras: torch"
    assert "uv venv" in machine.said.read_text()


def test_an_environment_of_another_program_is_kept(machine: Machine) -> None:
    machine.add_uv()
    machine.add_python("python", "3.11", machine.checkout / ".venv" / "bin")

    assert machine.set_up() == "Python 3.11, extras:"
    assert "uv venv" not in machine.said.read_text()


def test_make_setup_leaves_alone_what_a_variable_of_the_users_names(machine: Machine) -> None:
    machine.add_uv()
    machine.add_python("python3", "3.12")
    theirs = machine.checkout.parent / "their environments"

    done = machine.run("make", "setup", VENV=str(theirs), CDPATH=os.fspath(theirs.parent))

    assert done.returncode == 0, done.stderr
    assert (machine.checkout / ".venv" / ".installed").is_file()
    assert not theirs.exists()
