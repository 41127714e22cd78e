"""Tables for people."""

from typing import TextIO

from rich.console import Console
from rich.table import Table

UNFOLDED_WIDTH = 1000
"""Wide enough that a row stays one line where it goes to a file or to another program, such as `grep`."""


def new_table() -> Table:
    """Return a table without lines around its cells."""
    return Table(box=None, pad_edge=False, header_style="bold")


def write_table(table: Table, stream: TextIO) -> None:
    """Write a table, folded to the terminal if there is one."""
    width = None if stream.isatty() else UNFOLDED_WIDTH
    Console(file=stream, width=width, highlight=False, emoji=False, markup=False).print(table)
