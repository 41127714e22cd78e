"""The operator's table of memory and speed, from the newest comparison. `python -m docs.sizing` writes it."""

import re
from pathlib import Path

from bench.environment import find_newest_result
from bench.records import LARGE, SMALL, Comparison, median, read_comparison
from bench.servers import LIGHTBOX

PAGE = Path(__file__).with_name("operations.md")
_CONNECTIONS = 16
_MARKED = re.compile("(<!-- begin: sizing -->\n).*?(<!-- end: sizing -->)", re.DOTALL)


def with_sizing(page: str) -> str:
    """Return the operator's page with the table of the newest comparison.

    Raises:
        FileNotFoundError: There is no comparison in `bench/results/`.
    """
    path = find_newest_result("compare")
    if path is None:
        raise FileNotFoundError("There is no comparison in bench/results; `python -m bench.compare` makes one.")
    text = _render(read_comparison(path), path)
    return _MARKED.sub(lambda found: f"{found[1]}{text}\n{found[2]}", page)


def _render(comparison: Comparison, path: Path) -> str:
    command, machine = comparison.environment["command"], comparison.environment["machine"]
    rows = [
        f"| {count.models} {'model' if count.models == 1 else 'models'}, no load yet | {count.idle_bytes / 1e6:.0f} | |"
        for count in comparison.model_counts
    ]
    rows += [
        _render_load(comparison, "1 model, under load", SMALL, workers=1),
        _render_load(comparison, "the same, photographs of 12 megapixels", LARGE, workers=1),
        _render_load(comparison, "1 model, 2 workers, under load", SMALL, workers=2),
    ]
    head = (
        f"EfficientNet-Lite0 on {machine['cores']} cores, {_CONNECTIONS} connections from the same machine, medians "
        f"(`{command}`, [result](../bench/results/{path.name})):"
    )
    return "\n".join([head, "", "| what runs | memory, MB | images/s |", "|---|---|---|", *rows])


def _render_load(comparison: Comparison, name: str, photographs: str, *, workers: int) -> str:
    runs = comparison.select(LIGHTBOX, "closed", _CONNECTIONS, photographs=photographs, workers=workers)
    used, rate = median(run.memory_bytes for run in runs), median(run.images_per_s for run in runs)
    return f"| {name} | {(used or 0) / 1e6:.0f} | {rate or 0:.0f} |"


if __name__ == "__main__":
    PAGE.write_text(with_sizing(PAGE.read_text()))
