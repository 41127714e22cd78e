"""`lightbox classify`: files in, answers out."""

import asyncio
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TextIO

from bento_service.cli.classification import Classify, classify_in_order
from bento_service.cli.errors import CommandError, ExitCode
from bento_service.cli.image_files import Inputs
from bento_service.cli.output import CsvReport, JsonLinesReport, Report, TableReport, open_progress, stderr_console
from bento_service.domain.file_names import to_line


class Form(StrEnum):
    """How answers are written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


_REPORTS: dict[Form, Callable[[TextIO], Report]] = {
    Form.TABLE: TableReport,
    Form.JSON: JsonLinesReport,
    Form.CSV: CsvReport,
}


def require_images(inputs: Inputs) -> Inputs:
    """Show the arguments that cannot be used, and return the inputs; raises `CommandError` where no file is left."""
    console = stderr_console()
    for problem in inputs.problems:
        console.print(problem)
    if not inputs.paths:
        raise CommandError("there is no image to classify", ExitCode.BAD_INPUT)
    return inputs


def classify_files(
    inputs: Inputs, source: AbstractAsyncContextManager[Classify], *, form: Form, output: Path | None, concurrency: int
) -> None:
    """Classify the files with `source` and write the answers to `output`, or stdout if None.

    Raises:
        CommandError: Some input got no answer, or an answer cannot be written.
        LightboxError, LightboxClientError: The run ended early; the answers so far are written.
    """
    with _opened(output) as stream:
        failed = asyncio.run(_classify_all(inputs.paths, source, _REPORTS[form], stream, concurrency))
    failed += len(inputs.problems)
    if failed:
        total = len(inputs.paths) + len(inputs.problems)
        raise CommandError(f"{failed} of {total} inputs got no answer", ExitCode.BAD_INPUT)


async def _classify_all(
    paths: Sequence[Path],
    source: AbstractAsyncContextManager[Classify],
    open_report: Callable[[TextIO], Report],
    stream: TextIO,
    concurrency: int,
) -> int:
    """Report each file and return how many failed."""
    failed = 0
    console = stderr_console()
    with explained_writes(stream):
        report = open_report(stream)
    try:
        with open_progress(console) as progress:
            task = progress.add_task("classifying", total=len(paths))
            async with source as classify:
                async for outcome in classify_in_order(paths, classify, concurrency=concurrency):
                    with explained_writes(stream):
                        report.add(outcome)
                    if failure := outcome.failure:
                        console.print(f"{to_line(outcome.item)}: {failure.message} ({failure.code})")
                        failed += 1
                    progress.advance(task)
    finally:
        with explained_writes(stream):
            report.finish()
    return failed


@contextmanager
def explained_writes(stream: TextIO) -> Iterator[None]:
    """Turn a failed write, such as to a full disk, into a `CommandError`; typer handles a closed pipe."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        # Closing the stream would flush the rest and fail again.
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
        raise CommandError(f"cannot write {stream.name}: {error.strerror or error}") from error


@contextmanager
def _opened(output: Path | None) -> Iterator[TextIO]:
    if output is None:
        yield sys.stdout
        return
    try:
        stream = output.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise CommandError(f"cannot write {output}: {error.strerror or error}", ExitCode.BAD_INPUT) from error
    with stream:
        yield stream
