"""`lightbox models`: what is served here or elsewhere, and bringing in what is missing."""

import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TextIO

from bento_service.cli.errors import CommandError, ExplainedError
from bento_service.cli.launch import run_to_end
from bento_service.cli.tables import new_table, write_table
from bento_service.domain.models import ModelCard, StoredModel
from lightbox_client import Client

MISSING = "missing"
PREPARED = "prepared"


class Catalogue(Protocol):
    """The part of the catalogue that is needed here."""

    def missing(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return those that are not prepared."""

    def load(self, name: str) -> StoredModel:
        """Return a prepared model."""


class Preparer(Protocol):
    """What brings models in."""

    def prepare(self, names: Sequence[str], on_progress: Callable[[str, str], None]) -> None:
        """Bring in what is missing."""


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A line of the listing; empty where it is not known before the model is prepared."""

    name: str
    state: str
    version: str = ""
    input_size: str = ""
    licence: str = ""
    source: str = ""


def list_prepared(catalogue: Catalogue, names: Sequence[str]) -> list[ModelRow]:
    """Return a row for each of the settings' models: `prepared`, or `missing` with nothing but its name."""
    missing = catalogue.missing(names)
    return [ModelRow(name, MISSING) if name in missing else _row_of(catalogue.load(name).card) for name in names]


def list_served(client: Client) -> list[ModelRow]:
    """Return a row for each model that a service has.

    Raises:
        LightboxClientError: It did not answer.
    """
    return [
        ModelRow(
            name=card.name,
            state=card.state,
            version=card.version,
            input_size=f"{card.input_size.width}×{card.input_size.height}",
            licence=card.licence,
            source=card.source,
        )
        for card in client.models().models
    ]


def write_rows(rows: Sequence[ModelRow], stream: TextIO) -> None:
    """Write the listing, and how to get what is missing."""
    table = new_table()
    for heading in ("name", "state", "version", "input", "licence"):
        table.add_column(heading, no_wrap=True)
    table.add_column("source", overflow="fold")
    for row in rows:
        table.add_row(row.name, row.state, row.version, row.input_size, row.licence, row.source)
    write_table(table, stream)
    if any(row.state == MISSING for row in rows):
        stream.write("\nBring in what is missing with `lightbox models prepare`.\n")


def prepare(preparer: Preparer, names: Sequence[str], stream: TextIO) -> None:
    """Bring in what is missing, with a line a step on `stream`; silent where nothing is.

    Raises:
        ModelLoadError: A model cannot be had.
    """
    started_s = time.monotonic()

    def show(model: str, step: str) -> None:
        stream.write(f"[{time.monotonic() - started_s:5.1f} s] {model}: {step}\n")
        stream.flush()

    preparer.prepare(names, show)


def prepare_in_subprocess(names: Sequence[str], run: Callable[[Sequence[str]], int] = run_to_end) -> None:
    """Bring in what is missing in a process of its own, which takes PyTorch's memory with it as it ends.

    Raises:
        ExplainedError: It failed, and said why on stderr.
        CommandError: It was ended from outside.
    """
    code = run((sys.executable, "-m", "bento_service.cli.app", "models", "prepare", *names))
    if code < 0:
        raise CommandError(f"preparing the models was ended by {signal.Signals(-code).name}")
    if code:
        raise ExplainedError(f"the models were not prepared (exit code {code})")


def _row_of(card: ModelCard) -> ModelRow:
    recipe = card.recipe
    return ModelRow(
        name=card.name,
        state=PREPARED,
        version=card.version,
        input_size=f"{recipe.width_px}×{recipe.height_px}",
        licence=card.licence,
        source=card.source,
    )
