"""What the commands write to stdout: tables for people, JSON lines and CSV for programs."""

import codecs
import csv
from typing import Any, Protocol, TextIO

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from bento_service.cli.classification import Outcome
from bento_service.cli.image_files import to_line, to_text
from lightbox_client.contract import Classification

UNFOLDED_WIDTH = 1000
"""Columns of output that is not a terminal, so that a row stays one line for `grep`."""


def plain_console(stream: TextIO) -> Console:
    """Return a console that writes text as it is; as wide as the terminal, if there is one."""
    width = None if stream.isatty() else UNFOLDED_WIDTH
    return Console(file=stream, width=width, highlight=False, emoji=False, markup=False)


def new_table() -> Table:
    """Return a table without lines around its cells."""
    return Table(box=None, pad_edge=False, header_style="bold")


class Report(Protocol):
    """Takes outcomes in their order."""

    def add(self, outcome: Outcome) -> None:
        """Take one; written at once where the form allows it."""

    def finish(self) -> None:
        """Write what is left."""


class _Failure(BaseModel):
    code: str
    message: str


class _Line(BaseModel):
    file: str
    result: Classification | None
    error: _Failure | None


class JsonLinesReport:
    """One JSON document per line and file: `file`, `result` as in the HTTP contract or null, `error` or null.

    A stream that is not UTF-8 gets JSON's escapes in place of characters outside ASCII.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_ascii = codecs.lookup(stream.encoding or "ascii").name != "utf-8"

    def add(self, outcome: Outcome) -> None:
        """Write a line."""
        failure = outcome.failure
        error = _Failure(code=failure.code, message=failure.message) if failure else None
        line = _Line(file=to_text(outcome.path), result=outcome.answer, error=error)
        self._stream.write(line.model_dump_json(ensure_ascii=self._is_ascii) + "\n")
        self._stream.flush()

    def finish(self) -> None:
        """Do nothing: every line is written already."""


class CsvReport:
    """A header, then a row for each prediction. A file without an answer has one row, with its error."""

    COLUMNS = ("file", "model", "rank", "class_id", "label", "score", "total_ms", "error_code", "error")

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._rows: Any = csv.DictWriter(stream, self.COLUMNS, lineterminator="\n")
        self._rows.writeheader()

    def add(self, outcome: Outcome) -> None:
        """Write the file's rows."""
        file = to_text(outcome.path)
        if outcome.failure is not None:
            failure = outcome.failure
            self._rows.writerow({"file": file, "error_code": failure.code, "error": failure.message})
        elif outcome.answer is not None:
            answer = outcome.answer
            shared = {"file": file, "model": answer.model.name, "total_ms": answer.timings_ms.total}
            for rank, prediction in enumerate(answer.predictions, start=1):
                self._rows.writerow(shared | {"rank": rank} | prediction.model_dump())
        self._stream.flush()

    def finish(self) -> None:
        """Do nothing: every line is written already."""


class TableReport:
    """A table with a row for each prediction. It is written at the end, when the widths of its columns are known."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._table = new_table()
        self._table.add_column("file", overflow="fold")
        self._table.add_column("class", overflow="fold")
        self._table.add_column("score", justify="right", no_wrap=True)
        self._table.add_column("id", justify="right", no_wrap=True)
        self._table.add_column("ms", justify="right", no_wrap=True)

    def add(self, outcome: Outcome) -> None:
        """Keep the file's rows; files without an answer are only reported as errors."""
        if outcome.answer is None:
            return
        first, *others = outcome.answer.predictions
        total_ms = f"{outcome.answer.timings_ms.total:.1f}"
        self._table.add_row(
            to_line(outcome.path), first.label, f"{first.score:.1%}", str(first.class_id), total_ms, style="bold"
        )
        for prediction in others:
            self._table.add_row("", prediction.label, f"{prediction.score:.1%}", str(prediction.class_id), "")

    def finish(self) -> None:
        """Write the table, unless it is empty."""
        if self._table.row_count:
            plain_console(self._stream).print(self._table)
            self._stream.flush()
