"""`bentoml containerize`, for bentos with a Dockerfile template.

BentoML 1.4.36 to 1.4.40 refuse the template that they have put into the bento themselves, unless the command runs
above the folder for temporary files (https://github.com/bentoml/BentoML/issues/5566). So it runs from there. BentoML's
command line takes this one in place of its own, as an extension (`bentoml.commands` in pyproject.toml).
"""

import contextlib
import copy
import tempfile
from collections.abc import Callable
from typing import Any

import click
from bentoml_cli.containerize import containerize_command


def in_temporary_folder(command: click.Command) -> click.Command:
    """Return the same command, to run in the folder for temporary files."""
    moved = copy.copy(command)
    moved.callback = _moved(command.callback) if command.callback else None
    return moved


def _moved(run: Callable[..., Any]) -> Callable[..., Any]:
    def run_there(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - whatever the command takes
        with contextlib.chdir(tempfile.gettempdir()):
            return run(*arguments, **options)

    return run_there


containerize = in_temporary_folder(containerize_command)
