"""The command itself, before any subcommand."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from bento_service import __version__
from bento_service.cli.app import app, main


def test_the_version_can_be_asked_for() -> None:
    result = CliRunner().invoke(app, ["--version"])

    assert (result.exit_code, result.stdout) == (0, f"lightbox {__version__}\n")


def test_a_closed_output_stops_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["lightbox", "--version"])
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 0


def test_help_needs_no_heavy_library() -> None:
    script = (
        "import sys, bento_service.cli.app\n"
        "print(sorted({'torch', 'bentoml', 'openvino', 'timm', 'streamlit', 'fastapi'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
