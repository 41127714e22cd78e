"""Options that several subcommands share."""

from typing import Annotated

import typer

from lightbox_client import Client

_PATIENT_RETRIES = 20
_PATIENT_WAIT_S = 60.0
"""Longest wait of one file for a busy service; a run over many files is not urgent."""


def strip(value: str | None) -> str | None:
    """Strip a value that may come from the environment, as settings are stripped."""
    return value and value.strip()


Url = Annotated[str, typer.Option(metavar="URL", envvar="LIGHTBOX_URL", help="The service to ask.", callback=strip)]


def open_patient_client(url: str) -> Client:
    """Return a client that waits where the service is busy."""
    return Client(url, max_retries=_PATIENT_RETRIES, max_retry_wait_s=_PATIENT_WAIT_S)


def refuse_local_and_url(context: typer.Context, *, is_local: bool) -> None:
    """Refuse `--url` on the command line of a subcommand that has `--local` too.

    Raises:
        BadParameter: Both are there.
    """
    origin = context.get_parameter_source("url")
    if is_local and origin is not None and origin.name == "COMMANDLINE":
        raise typer.BadParameter("--local and --url exclude each other")
