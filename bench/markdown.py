"""Parts that several results have: tables for a page in Markdown and for the terminal."""

from collections.abc import Iterable, Mapping, Sequence

from rich.table import Table


def render_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; a bar within a cell is the caller's to escape."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def shorten_commit(commit: str) -> str:
    """Return a commit's first twelve digits, with what marks it as changed."""
    name, *changed = commit.split("-")
    return "-".join([name[:12], *changed])


def make_table(cells: Mapping[str, str], figures: Iterable[object], title: str | None = None) -> Table:
    """Return a table for the terminal; `cells` has a format for each heading, such as `{0.images_per_s:.0f}`."""
    table = Table(*cells, title=title)
    for figure in figures:
        table.add_row(*(cell.format(figure) for cell in cells.values()))
    return table
