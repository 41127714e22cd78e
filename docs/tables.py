"""The generated tables of README and benchmarks, from the code and the newest results.

`python -m docs.tables` writes them; a test fails if they are out of date.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from pydantic.fields import FieldInfo

from bench.containers.section import render_section
from bench.environment import find_newest_result
from bench.overload import render_overload
from bench.records import read_comparison
from bench.report import render_summary
from bento_service.http.responses.problems import PROBLEM_TYPES
from bento_service.settings import Settings

README = Path(__file__).parents[1] / "README.md"
BENCHMARKS = Path(__file__).with_name("benchmarks.md")
_HIDDEN_CODES = {"cancelled"}
"""Never sent: the client has disconnected."""


def settings_table() -> str:
    """Return a row for each setting: variable, default and description."""
    rows = [
        f"| `LIGHTBOX_{name.upper()}` | {_describe_default(field)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| variable | default | what it is |", "|---|---|---|", *rows])


def problems_table() -> str:
    """Return a row for each error: status, code and cause."""
    rows = [
        f"| {kind.status} | `{code}` | {kind.when} |"
        for code, kind in sorted(PROBLEM_TYPES.items(), key=lambda item: (item[1].status, item[0]))
        if code not in _HIDDEN_CODES
    ]
    return "\n".join(["| status | code | when |", "|---|---|---|", *rows])


def speed_table() -> str:
    """Return the closed loops of the newest comparison, and how they were measured.

    Raises:
        FileNotFoundError: There is no comparison in `bench/results/`.
    """
    path = find_newest_result("compare")
    if path is None:
        raise FileNotFoundError("There is no comparison in bench/results; `python -m bench.compare` makes one.")
    comparison = read_comparison(path)
    table = render_summary(comparison)
    command, machine = comparison.environment["command"], comparison.environment["machine"]
    return (
        f"EfficientNet-Lite0 on {machine['cores']} cores, load from the same machine, medians of "
        f"{comparison.plan['rounds']} rounds (`{command}`, [result](bench/results/{path.name})):\n\n{table}"
    )


def with_tables(readme: str) -> str:
    """Return the README with up-to-date tables."""
    return _fill(readme, {"settings": settings_table(), "problems": problems_table(), "speed": speed_table()})


def with_sections(page: str) -> str:
    """Return the benchmarks' page with the newest results about overload and containers."""
    sections = {
        "overload": render_overload(find_newest_result("overload")),
        "containers": render_section(find_newest_result("containers")),
    }
    return _fill(page, sections)


def _fill(text: str, tables: Mapping[str, str]) -> str:
    for name, table in tables.items():
        begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
        # In what `re.sub` puts in, a backslash would begin an escape.
        filled = f"{begin}\n{table}\n{end}".replace("\\", r"\\")
        text = re.sub(f"{begin}.*?{end}", filled, text, flags=re.DOTALL)
    return text


def _describe_default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "`~/.lightbox`"
    if field.default in (None, ()):
        return ""
    if isinstance(field.default, tuple):
        return f"`{','.join(field.default)}`"
    return f"`{field.default:g}`" if isinstance(field.default, float) else f"`{field.default}`"


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text()))
    BENCHMARKS.write_text(with_sections(BENCHMARKS.read_text()))
