"""`bentoml containerize`, for bentos with a Dockerfile template.

BentoML 1.4.36 to 1.4.40 refuse the template that they have put into the bento themselves, unless the command runs
above the folder for temporary files (https://github.com/bentoml/BentoML/issues/5566). So it runs from there, and first
notes the commit for the image's labels. BentoML's command line takes this one in place of its own, as an extension
(`bentoml.commands` in pyproject.toml).
"""

import contextlib
import copy
import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from bentoml_cli.containerize import containerize_command
from bentoml_cli.utils import MEMO_KEY, BentoMLCommandGroup

_HOME = "BENTOML_HOME"
_BUILDKIT = "DOCKER_BUILDKIT"


def in_temporary_folder(command: click.Command) -> click.Command:
    """Return the same command, to run in the folder for temporary files."""
    moved = copy.copy(command)
    moved.callback = _moved(command.callback) if command.callback else None
    # BentoML adds its global options to each command of its command line: to its own already, and soon to this one.
    shared = {option.name for option in _global_options()}
    moved.params = [option for option in command.params if option.name not in shared]
    return moved


def _global_options() -> Sequence[click.Parameter]:
    def run() -> None:
        """Only to be given the options."""

    options: Sequence[click.Parameter] = BentoMLCommandGroup.bentoml_common_params(run).__click_params__
    return options


def _moved(run: Callable[..., Any]) -> Callable[..., Any]:
    def run_there(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - whatever the command takes
        # BentoML takes its home as it stands there, and looks for it only now.
        if _HOME in os.environ:
            os.environ[_HOME] = str(Path(os.environ[_HOME]).absolute())
        if _BUILDKIT not in os.environ and not has_buildkit():
            os.environ[_BUILDKIT] = "0"
        chosen = options.get(MEMO_KEY, {})
        if not any(argument.startswith("REVISION=") for argument in chosen.get("build_arg", ())):
            chosen["build_arg"] = (*chosen.get("build_arg", ()), f"REVISION={read_revision()}")
        with contextlib.chdir(tempfile.gettempdir()):
            return run(*arguments, **options)

    return run_there


def has_buildkit() -> bool:
    """Tell whether Docker has the plug-in that it builds with unless told otherwise. Debian's comes without."""
    try:
        asked = subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False)  # noqa: S607
    except OSError:
        return False
    return asked.returncode == 0


def read_revision() -> str:
    """Return the commit that the working directory has checked out, or `unknown`."""
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)  # noqa: S607
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


containerize = in_temporary_folder(containerize_command)
