"""What the commands write to stdout: tables for people, JSON lines and CSV for programs."""

import codecs
import csv
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from pydantic import BaseModel
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bento_service.cli.classification import Classified
from bento_service.cli.errors import CommandError, ExitCode
from bento_service.domain.file_names import to_line, to_text
from lightbox_client.contract import Classification

UNFOLDED_WIDTH = 1000
"""Columns of output that is not a terminal, so that a row stays one line for `grep`."""


def plain_console(stream: TextIO) -> Console:
    """Return a console that writes text as it is; as wide as the terminal, if there is one."""
    width = None if stream.isatty() else UNFOLDED_WIDTH
    return Console(file=stream, width=width, highlight=False, emoji=False, markup=False)


def stderr_console() -> Console:
    """Return a console for messages, which writes text as it is."""
    return Console(stderr=True, highlight=False, emoji=False, markup=False, soft_wrap=True)


def open_progress(console: Console) -> Progress:
    """Return a bar that shows how far a run over many files is; nothing where the console is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def new_table() -> Table:
    """Return a table without lines around its cells."""
    return Table(box=None, pad_edge=False, header_style="bold")


def require_writable(paths: Iterable[Path]) -> None:
    """Check before any work that its files can be written; leaves none behind."""
    for path in paths:
        is_new = not os.path.lexists(path)
        try:
            path.open("a").close()
            if is_new:
                path.unlink()
        except OSError as error:
            is_missing = isinstance(error, FileNotFoundError)
            reason = f"there is no folder {path.parent}; make it or name another" if is_missing else error.strerror
            raise CommandError(f"cannot write {path}: {reason}", ExitCode.BAD_INPUT) from error


class Report:
    """Takes outcomes in their order, and writes each at once where the form allows it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def add(self, outcome: Classified) -> None:
        """Take the next outcome."""
        raise NotImplementedError

    def finish(self) -> None:
        """Write what is left."""


class _Failure(BaseModel):
    code: str
    message: str


class _Line(BaseModel):
    file: str
    result: Classification | None
    error: _Failure | None


class JsonLinesReport(Report):
    """One JSON document per line and file: `file`, `result` as in the HTTP contract or null, `error` or null.

    A stream that is not UTF-8 gets JSON's escapes in place of characters outside ASCII.
    """

    def add(self, outcome: Classified) -> None:
        """Write a line."""
        failure = outcome.failure
        error = _Failure(code=failure.code, message=failure.message) if failure else None
        line = _Line(file=to_text(outcome.item), result=outcome.answer, error=error)
        is_ascii = codecs.lookup(self._stream.encoding or "ascii").name != "utf-8"
        self._stream.write(line.model_dump_json(ensure_ascii=is_ascii) + "\n")
        self._stream.flush()


class CsvReport(Report):
    """A header, then a row for each prediction. A file without an answer has one row, with its error."""

    COLUMNS = ("file", "model", "rank", "class_id", "label", "score", "score_kind", "total_ms", "error_code", "error")

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._rows: Any = csv.DictWriter(stream, self.COLUMNS, lineterminator="\n")
        self._rows.writeheader()

    def add(self, outcome: Classified) -> None:
        """Write the file's rows."""
        file = to_text(outcome.item)
        if outcome.failure is not None:
            failure = outcome.failure
            self._rows.writerow({"file": file, "error_code": failure.code, "error": failure.message})
        elif outcome.answer is not None:
            answer = outcome.answer
            shared = {
                "file": file,
                "model": answer.model.name,
                "score_kind": answer.score_kind,
                "total_ms": answer.timings_ms.total,
            }
            for rank, prediction in enumerate(answer.predictions, start=1):
                self._rows.writerow(shared | {"rank": rank} | prediction.model_dump())
        self._stream.flush()


class TableReport(Report):
    """A table with a row for each prediction, written at the end, when the widths of its columns are known."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._table = new_table()
        self._independent = set[str]()
        for column in ("file", "class"):
            self._table.add_column(column, overflow="fold")
        for column in ("score", "id", "ms"):
            self._table.add_column(column, justify="right", no_wrap=True)

    def add(self, outcome: Classified) -> None:
        """Keep the file's rows; files without an answer are only reported as errors."""
        if outcome.answer is None:
            return
        if outcome.answer.score_kind == "independent":
            self._independent.add(outcome.answer.model.name)
        file, total_ms, style = to_line(outcome.item), f"{outcome.answer.timings_ms.total:.1f}", "bold"
        for prediction in outcome.answer.predictions:
            score, class_id = f"{prediction.score:.1%}", str(prediction.class_id)
            self._table.add_row(file, prediction.label, score, class_id, total_ms, style=style)
            file = total_ms = style = ""

    def finish(self) -> None:
        """Write the table, unless it is empty, and the models whose scores do not sum to 100 %."""
        if self._table.row_count:
            console = plain_console(self._stream)
            console.print(self._table)
            for model in sorted(self._independent):
                console.print(
                    f"\nThe scores of {model} are independent: each class has its own, and they do not sum to 100%."
                )
            self._stream.flush()
