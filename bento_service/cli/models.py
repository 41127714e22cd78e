"""`lightbox models`: list the models that are prepared or served, prepare what is missing, verify the answers."""

import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, TextIO, TypeAlias

import typer

from bento_service.cli.errors import CommandError, ExitCode, ExplainedError, explained_errors, read_settings
from bento_service.cli.launch import run_to_end
from bento_service.cli.output import new_table, plain_console
from bento_service.domain.models import ModelCard, StoredModel
from bento_service.models.store import BentoModelStore
from lightbox_client import Client, contract

if TYPE_CHECKING:
    from bento_service.preparation.verification import Verification

models_app = typer.Typer(rich_markup_mode=None, invoke_without_command=True)

_PACKAGES = Path(__file__).parents[2]
_RUN_LIGHTBOX = "import sys; sys.path.append(sys.argv.pop(1)); from bento_service.cli.app import main; main()"
"""Runs `lightbox` from the folder that is its first argument, where it is not installed: `bentoml serve` in a checkout.

The folder comes last, so that nothing in it takes the place of Python's own modules or a library's.
"""

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
    code = run((sys.executable, "-P", "-c", _RUN_LIGHTBOX, str(_PACKAGES), "models", "prepare", *arguments))
    if code < 0:
        raise CommandError(f"preparing the models was ended by {signal.Signals(-code).name}")
    if code:
        raise ExplainedError(f"the models were not prepared (exit code {code})")


def open_store() -> BentoModelStore:
    """Open BentoML's model store, and the further one of the settings."""
    return BentoModelStore(also=read_settings().model_store)


@models_app.callback()
def models(
    context: typer.Context,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Ask this service.", show_default="look on this machine")
    ] = None,
) -> None:
    """List the models of LIGHTBOX_MODELS, or of a service."""
    if context.invoked_subcommand is not None:
        return
    with explained_errors():
        if url is None:
            rows = list_prepared(open_store(), read_settings().models)
        else:
            with Client(url) as client:
                rows = list_served(client)
        write_rows(rows, sys.stdout)


@models_app.command("prepare")
def prepare_models(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Models to prepare.", show_default="those of LIGHTBOX_MODELS"),
    ] = None,
    torch_program: Annotated[
        bool, typer.Option("--torch-program", help="Also write what the PyTorch engine runs; takes the extra `torch`.")
    ] = False,
) -> None:
    """Bring in the models that are missing.

    Makes an ONNX file of their weights and keeps it in BentoML's model store.
    """
    with explained_errors():
        from bento_service.preparation.prepare import prepare_missing  # noqa: PLC0415 - help needs none of it

        store = open_store()
        prepare(
            lambda wanted, on_progress: prepare_missing(wanted, store, on_progress, with_program=torch_program),
            names or read_settings().models,
            sys.stderr,
        )


@models_app.command("verify")
def verify_models(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Models to verify.", show_default="those of LIGHTBOX_MODELS"),
    ] = None,
) -> None:
    """Measure how far the answers of prepared models are from a reference.

    Compares each installed CPU engine with PyTorch on timm's evaluation transform, or with ONNX Runtime where PyTorch
    is not installed, over 200 crops of photographs.

    Exit code: 0 if all pass the parity gate, 2 if one fails it, 1 if it cannot be measured.
    """
    with explained_errors():
        from bento_service.preparation import verification  # noqa: PLC0415 - help needs none of it

        models = map(open_store().load, names or read_settings().models)
        verify(models, verification.verify, sys.stdout)
