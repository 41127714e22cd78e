"""`lightbox models`: list the models that are prepared or served, and prepare those that are missing."""

import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TextIO, TypeAlias

from bento_service.cli.errors import CommandError, ExitCode, ExplainedError
from bento_service.cli.launch import run_to_end
from bento_service.cli.output import new_table, plain_console
from bento_service.domain.models import ModelCard, StoredModel
from bento_service.models.store import BentoModelStore
from lightbox_client import Client, contract

if TYPE_CHECKING:
    from bento_service.preparation.verification import Verification

MISSING = "missing"
PREPARED = "prepared"


PrepareMissing: TypeAlias = Callable[[Sequence[str], Callable[[str, str], None]], None]
"""Takes names, and a callback that gets a model's name and a step."""


class ModelRow(NamedTuple):
    """A line of the listing; a missing model has only a name and a state."""

    name: str
    state: str
    version: str = ""
    input_size: str = ""
    licence: str = ""
    source: str = ""


def list_prepared(store: BentoModelStore, names: Sequence[str]) -> list[ModelRow]:
    """Return a row for each name: `prepared`, or `missing`."""
    missing = store.missing(names)
    return [ModelRow(name, MISSING) if name in missing else _row_of(store.load(name).card) for name in names]


def list_served(client: Client) -> list[ModelRow]:
    """Return a row for each model that a service has; raises `LightboxClientError`."""
    return [_row_of(card) for card in client.models().models]


def _row_of(card: ModelCard | contract.ModelCard) -> ModelRow:
    if isinstance(card, ModelCard):
        state, size = PREPARED, f"{card.recipe.width_px}×{card.recipe.height_px}"
    else:
        state, size = card.state, f"{card.input_size.width}×{card.input_size.height}"
    return ModelRow(card.name, state, card.version, size, card.licence, card.source)


def write_rows(rows: Sequence[ModelRow], stream: TextIO) -> None:
    """Write the listing, and how to get what is missing."""
    table = new_table()
    for heading in ("name", "state", "version", "input", "licence"):
        table.add_column(heading, no_wrap=True)
    table.add_column("source", overflow="fold")
    for row in rows:
        table.add_row(*row)
    plain_console(stream).print(table)
    if any(row.state == MISSING for row in rows):
        stream.write("\nBring in what is missing with `lightbox models prepare`.\n")


def prepare(prepare_missing: PrepareMissing, names: Sequence[str], stream: TextIO) -> None:
    """Prepare the models that are missing, and write a line for each step.

    Raises:
        ModelLoadError: A model cannot be had.
    """
    started_s = time.monotonic()

    def show(model: str, step: str) -> None:
        stream.write(f"[{time.monotonic() - started_s:5.1f} s] {model}: {step}\n")
        stream.flush()

    prepare_missing(names, show)


def verify(models: Iterable[StoredModel], measure: "Callable[[StoredModel], Verification]", stream: TextIO) -> None:
    """Measure the parity of each model, and write a table.

    Raises:
        ModelLoadError: The parity of a model cannot be measured; those before it are written.
        CommandError: One fails the parity gate.
    """
    console, failing = plain_console(stream), []
    for model in models:
        verification = measure(model)
        table = new_table()
        for heading in (model.card.name, "crops", "same best class", "largest difference", "parity gate"):
            table.add_column(heading, no_wrap=True)
        for engine, parity in verification.parities.items():
            agreement, difference = f"{parity.top1_agreement:.1%}", f"{parity.max_probability_difference:.4f}"
            table.add_row(engine, str(parity.crops), agreement, difference, "passes" if parity.passes_gate else "fails")
        console.print(table)
        stream.write(f"Version {model.card.version}, compared with {verification.reference}.\n\n")
        stream.flush()
        if not all(parity.passes_gate for parity in verification.parities.values()):
            failing.append(model.card.name)
    if failing:
        raise CommandError(f"these fail the parity gate: {', '.join(failing)}", ExitCode.BAD_INPUT)


def prepare_in_subprocess(arguments: Sequence[str], run: Callable[[Sequence[str]], int] = run_to_end) -> None:
    """Run `lightbox models prepare` with these arguments in a child process, which frees its memory afterwards.

    Raises:
        ExplainedError: The child failed and wrote the reason to stderr.
        CommandError: A signal ended the child.
    """
    code = run((sys.executable, "-P", "-m", "bento_service.cli.app", "models", "prepare", *arguments))
    if code < 0:
        raise CommandError(f"preparing the models was ended by {signal.Signals(-code).name}")
    if code:
        raise ExplainedError(f"the models were not prepared (exit code {code})")
