"""The README's tables that come from the code. `python -m docs.tables` writes them; a test holds them up to date."""

import re
from pathlib import Path

from pydantic.fields import FieldInfo

from bento_service.http.problems import PROBLEM_TYPES
from bento_service.settings import Settings

README = Path(__file__).parents[1] / "README.md"
_HIDDEN_CODES = {"cancelled"}
"""Nobody is there to read it: the client hung up."""


def settings_table() -> str:
    """Return a row for each setting: its variable, its default, and what it is."""
    rows = [
        f"| `LIGHTBOX_{name.upper()}` | {_describe_default(field)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| variable | default | what it is |", "|---|---|---|", *rows])


def problems_table() -> str:
    """Return a row for each error: its status, its code, and when it comes."""
    rows = [
        f"| {kind.status} | `{code}` | {kind.when} |"
        for code, kind in sorted(PROBLEM_TYPES.items(), key=lambda item: (item[1].status, item[0]))
        if code not in _HIDDEN_CODES
    ]
    return "\n".join(["| status | code | when |", "|---|---|---|", *rows])


def with_tables(readme: str) -> str:
    """Return the README with its tables as the code has them now."""
    for name, table in (("settings", settings_table()), ("problems", problems_table())):
        begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
        readme = re.sub(f"{begin}.*?{end}", lambda _, text=f"{begin}\n{table}\n{end}": text, readme, flags=re.DOTALL)
    return readme


def _describe_default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "`~/.lightbox`"
    if field.default is None:
        return ""
    if isinstance(field.default, tuple):
        return f"`{','.join(field.default)}`"
    return f"`{field.default:g}`" if isinstance(field.default, float) else f"`{field.default}`"


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text()))
