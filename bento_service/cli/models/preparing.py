"""`lightbox models prepare` and `verify`: bring in bundled and libraries' models, and measure their answers."""

import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeAlias

from bento_service.cli.errors import CommandError, ExitCode, ExplainedError, read_settings
from bento_service.cli.launch import run_to_end
from bento_service.cli.output import new_table, plain_console
from bento_service.cli.plain_text import to_plain
from bento_service.domain.models import StoredModel
from bento_service.models.store import BentoModelStore

if TYPE_CHECKING:
    from bento_service.preparation.verification import Verification

_PACKAGES = Path(__file__).parents[3]
_RUN_LIGHTBOX = "import sys; sys.path.append(sys.argv.pop(1)); from bento_service.cli.app import main; main()"
"""Runs `lightbox` from the folder that is its first argument, where it is not installed: `bentoml serve` in a checkout.

The folder comes last, so that nothing in it takes the place of Python's own modules or a library's.
"""

PrepareMissing: TypeAlias = Callable[[Sequence[str], Callable[[str, str], None]], None]
"""Takes names, and a callback that gets a model's name and a step."""


class Steps:
    """Writes a line for each step of bringing models in, with the seconds since the beginning."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._started_s = time.monotonic()

    def show(self, model: str, step: str) -> None:
        """Write a line."""
        self._stream.write(f"[{time.monotonic() - self._started_s:5.1f} s] {model}: {to_plain(step)}\n")
        self._stream.flush()


def prepare(prepare_missing: PrepareMissing, names: Sequence[str], stream: TextIO) -> None:
    """Prepare the models that are missing, and write a line for each step.

    Raises:
        ModelLoadError: A model cannot be had.
    """
    prepare_missing(names, Steps(stream).show)


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
