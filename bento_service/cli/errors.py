"""Turns what can go wrong into one line on stderr and an exit code: the command line's edge."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import get_args

import typer
from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from bento_service.cli.plain_text import to_plain
from bento_service.errors import (
    CacheUrlError,
    InvalidParameterError,
    JournalUrlError,
    LightboxError,
    MissingFactsError,
    UnknownModelError,
    WrongFactsError,
)
from bento_service.settings import Settings
from lightbox_client import errors as client_errors
from lightbox_client.errors import LightboxClientError


class ExitCode(IntEnum):
    """The exit codes of every subcommand."""

    FAILED = 1
    """The service cannot be reached, a model cannot be had, a port is taken, a child died."""
    BAD_INPUT = 2
    """What was asked for is wrong, or some image got no answer."""
    TOO_INACCURATE = 3
    """`lightbox evaluate --min-accuracy`: the model is less accurate than asked for."""


class CommandError(Exception):
    """Ends a command with a sentence for the person who typed it."""

    def __init__(self, message: str, exit_code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class ExplainedError(CommandError):
    """Ends a command whose reason is on stderr already, in the words of a process that it started."""


_BAD_INPUT_ERRORS = (
    UnknownModelError,
    InvalidParameterError,
    MissingFactsError,
    WrongFactsError,
    JournalUrlError,
    CacheUrlError,
    client_errors.UnknownModelError,
    client_errors.InvalidRequestError,
    client_errors.InvalidAddressError,
)


@contextmanager
def explained_errors() -> Iterator[None]:
    """Say in one line what went wrong and exit with the code for it; an unexpected error keeps its traceback."""
    try:
        yield
    except (CommandError, LightboxError, LightboxClientError) as error:
        if not isinstance(error, ExplainedError):
            sys.stderr.write(f"lightbox: {to_plain(str(error))}\n")
        code = ExitCode.BAD_INPUT if isinstance(error, _BAD_INPUT_ERRORS) else ExitCode.FAILED
        raise typer.Exit(getattr(error, "exit_code", code)) from error


@contextmanager
def explained_start() -> Iterator[None]:
    """Say in one line why the service cannot start, and end the process: for BentoML's command, which is not ours.

    Raises:
        SystemExit: With that line; Python prints it to stderr and exits with code 1.
    """
    try:
        yield
    except (CommandError, LightboxError) as error:
        raise SystemExit(f"lightbox: {error}") from error


def read_settings(**chosen: object) -> Settings:
    """Read the settings from the environment, with what the command line chose (not None) in their place.

    Raises:
        CommandError: A value is not allowed; the message names the variable, the value and the limits.
    """
    try:
        return Settings.model_validate({name: value for name, value in chosen.items() if value is not None})
    except ValidationError as error:
        described = "\n".join(_describe(found) for found in error.errors(include_url=False))
        raise CommandError(described, ExitCode.BAD_INPUT) from error


def _describe(found: ErrorDetails) -> str:
    """Name the variable with its value, unless that is a secret, and what it may be."""
    message = found["msg"].removeprefix("Value error, ")
    # An environment variable is located by its own name, a value of the command line by its field's.
    name = str(found["loc"][0]).removeprefix("LIGHTBOX_").lower() if found["loc"] else ""
    field = Settings.model_fields.get(name)
    if field is None:
        return message
    if found["type"] == "too_short":
        return f"LIGHTBOX_{name.upper()} names nothing; name at least one. ({field.description})"
    is_secret = SecretStr in (field.annotation, *get_args(field.annotation))
    given = "(not shown)" if is_secret else repr(found["input"])
    return f"LIGHTBOX_{name.upper()} is {given}: {message[:1].lower()}{message[1:]}. ({field.description})"
