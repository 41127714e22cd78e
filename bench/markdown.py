"""Parts of a page in Markdown that several sections have."""

from collections.abc import Sequence


def render_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; a bar within a cell is the caller's to escape."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def shorten_commit(commit: str) -> str:
    """Return a commit's first twelve digits, with what marks it as changed."""
    name, *changed = commit.split("-")
    return "-".join([name[:12], *changed])
